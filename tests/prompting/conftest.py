"""The command line with models whose pictures are known."""
from pathlib import Path

import pytest
import shell
import worded

from imggen_jax import api
from imggen_jax.editing import writing
from imggen_jax.prompting import describing, making

MODELS = {"plain": worded.model(), "guided": worded.model(guided=True), "single": worded.model(mixes=False)}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """(words, of which "OUT" is a folder of this test) -> the result; --model plain, guided or single."""
    for module in (making, api, describing):
        monkeypatch.setattr(module, "load", lambda name: MODELS[str(name)])
    for module in (making, api, writing):
        monkeypatch.setattr(module, "find", Path)  # where a policy would be

    def call(*words):
        return shell.call(*(str(word).replace("OUT", str(tmp_path)) for word in words))

    return call
