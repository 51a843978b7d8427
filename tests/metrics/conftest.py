"""What the reference implementations gave for reference_inputs.py: experiments/metrics_parity."""
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden():
    return json.loads((Path(__file__).parent / "golden.json").read_text())
