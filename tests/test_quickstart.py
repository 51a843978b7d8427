"""The notebook runs from top to bottom, as in Colab, on a handful of faces."""
from pathlib import Path

import nbformat
import shell
from nbclient import NotebookClient

from imggen_jax.data import avatars

ROOT = Path(__file__).parent.parent
SMALL = """
from imggen_jax.config import merge
from imggen_jax.configs.demo import get_config as parent


def get_config():
    return merge(parent(), {"game": {"network": {"widths": (4, 8), "hidden": 16}}, "train": {"batch": 16},
                            "devices": {"steps_per_call": 1}})
"""


def test_quickstart_runs_and_shows_pictures(tmp_path, monkeypatch):
    small = avatars.AvatarsConfig(name="tiny", size=32, train=96, test=32)
    avatars.Avatars(config=small, data_dir=tmp_path / "tfds").download_and_prepare(file_format="array_record")
    # The notebook asks for all faces of this size; these few stand in for them.
    (tmp_path / "tfds" / "avatars" / "tiny").rename(tmp_path / "tfds" / "avatars" / "32x32")
    (tmp_path / "demo").write_text(SMALL)  # in the current folder, and so instead of the shipped config
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("QUICKSTART_WORKDIR", str(tmp_path / "run"))
    monkeypatch.setenv("QUICKSTART_IMAGES", "64")
    monkeypatch.setenv("XLA_FLAGS", shell.flags(1))
    notebook = nbformat.read(ROOT / "experiments" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)

    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == 4  # two grids, sixteen samples, one walk
    assert (tmp_path / "run" / "report.html").is_file()
