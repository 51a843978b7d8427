"""The verbs `fetch` and `adapt`, with a Hub that is in the tests: nothing is downloaded."""
import sys
from pathlib import Path
from types import SimpleNamespace as Space

import pytest

from imggen_jax import hub, main

FILES = {"model_index.json": 500, "README.md": 10, "unet/diffusion_pytorch_model.safetensors": 3 * 2**30,
         "unet/diffusion_pytorch_model.fp16.safetensors": 2**30, "unet/diffusion_pytorch_model.bin": 3 * 2**30,
         "safety_checker/model.safetensors": 2**30, "whole_model.safetensors": 4 * 2**30}


@pytest.fixture
def there(monkeypatch):
    """A Hub with one repository; what was asked of it."""
    asked = []

    class Api:
        def model_info(self, repo, **options):
            asked.append(("look", repo))
            if repo != "owner/model":
                raise OSError("Name or service not known\nand more")
            siblings = [Space(rfilename=name, size=size) for name, size in FILES.items()]
            return Space(siblings=siblings, card_data={"license": "creativeml-openrail-m"})

    def download(repo, *, local_dir, **options):
        asked.append(("download", repo, Path(local_dir)))

    monkeypatch.setitem(sys.modules, "huggingface_hub", Space(HfApi=Api, snapshot_download=download))
    return asked


def test_the_license_and_the_size_of_what_is_read_are_shown(there, tmp_path, capsys):
    assert main.main(["fetch", "owner/model", "--out", str(tmp_path / "m"), "--yes"]) == 0
    told = capsys.readouterr()
    assert "license creativeml-openrail-m, 3.0 GiB" in told.err and "3 files, 3.0 GiB" in told.err
    assert f"generate --model {tmp_path / 'm'}" in told.out
    assert there == [("look", "owner/model"), ("download", "owner/model", tmp_path / "m")]


def test_a_license_that_is_not_accepted_downloads_nothing(there, tmp_path, capsys, monkeypatch):
    words = ["fetch", "owner/model", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.stdin", Space(isatty=lambda: False))
    assert main.main(words) == 2 and "run this in a terminal, or add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Space(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main.main(words) == 2 and "the license was not accepted" in capsys.readouterr().err
    assert ("download", "owner/model", tmp_path) not in there


def test_without_a_network_one_line_says_so(there, tmp_path, capsys):
    assert main.main(["fetch", "owner/other", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: cannot ask for owner/other (OSError: Name or service not known); check the name")
    assert told.count("\n") == 1
    assert main.main(["fetch", "model", "--out", str(tmp_path)]) == 2 and "write OWNER/NAME" in capsys.readouterr().err


@pytest.mark.parametrize("text, found", [
    ("a.safetensors", ("a.safetensors", 1.0)), ("a.safetensors:0.8", ("a.safetensors", 0.8)),
    ("a:b.safetensors:-1", ("a:b.safetensors", -1.0))])
def test_a_lora_and_its_strength(text, found):
    assert hub._lora(text) == found
