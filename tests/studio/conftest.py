"""A studio in a folder of its own, whose worker is a fake one."""
import sys
from pathlib import Path

import pytest

from imggen_jax.studio.bench import Studio
from imggen_jax.studio.home import Home
from imggen_jax.studio.jobs import Jobs

FAKE = [sys.executable, str(Path(__file__).parent / "fake_worker.py")]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "studio")


@pytest.fixture
def studio(home):
    jobs = Jobs(home, FAKE)
    yield Studio(home, jobs)
    jobs.close()
