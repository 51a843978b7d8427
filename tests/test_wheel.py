"""The wheel, installed outside the checkout: it finds its configs, kernels and templates, and trains."""
import os
import subprocess
import sys

import pytest
import shell

pytestmark = pytest.mark.slow
NEEDED = ("configs/shipped/avatars_vae.py", "nets/conv.cc", "training/report.html.jinja", "editing/lineage.html.jinja",
          "data/folders/card.md.jinja", "evaluation/audit.html.jinja", "provenance/policy_example.toml",
          "zoo/avatars/pretrained/autoencoder/model.json")


def run(*words, cwd, **variables):
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=cwd, capture_output=True, text=True,
                          env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="70.1")  # the first that builds wheels alone
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=shell.REPOSITORY, capture_output=True, text=True, check=True)
    for name in files.stdout.split("\0"):  # building writes beside what is built
        if name.startswith(("imggen_jax/", "configs/")) or name in ("setup.py", "pyproject.toml", "README.md"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((shell.REPOSITORY / name).read_bytes())
    run("pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source", cwd=folder)
    run("pip", "install", "--no-deps", "--no-index", "--target", folder / "site", *folder.glob("*.whl"), cwd=folder)
    return folder / "site"


def test_it_has_what_the_package_reads_at_run_time(installed):
    assert [name for name in NEEDED if not (installed / "imggen_jax" / name).is_file()] == []
    assert not (installed / "configs").exists()
    assert "imggen = imggen_jax.main:command" in next(installed.glob("*.dist-info/entry_points.txt")).read_text()


def test_it_trains_a_shipped_config_by_its_name(installed, tmp_path):
    data = [f"--config.data.{key}" for key in ("name=small", f"dir={shell.data_dir()}", "test=")]
    small = [f"--config.game.network.{key}" for key in ("widths=(4,)", "blocks=(1,)", "hidden=8")]
    out = run("imggen_jax.main", "train", "--config", "demo", *data, *small, "--config.train.images=16",
              "--config.train.batch=8", "--config.devices.steps_per_call=1", cwd=tmp_path, PYTHONPATH=str(installed))
    assert out.startswith("Done. Report: runs/demo/report.html") and (tmp_path / "runs" / "demo" / "run.json").is_file()
