"""What must not be trained on is left out, however it is named, and counted; nothing else is."""
import hashlib
import io

import own
import pytest
import shell
from PIL import Image

from imggen_jax.data.folders import optout
from imggen_jax.errors import DataError


def smooth(seed, quality=None, size=(40, 40)):
    small = Image.open(io.BytesIO(own.png(seed, (5, 5)))).resize((40, 40), Image.Resampling.BICUBIC).resize(size)
    out = io.BytesIO()
    small.save(out, "JPEG" if quality else "PNG", **({"quality": quality} if quality else {}))
    return out.getvalue()


FILES = {"a.png": smooth(1), "b.png": smooth(2), "c.png": smooth(3), "d/again.png": smooth(3), "e.png": smooth(4),
         "f.jpg": smooth(4, 70, (60, 60)), "g.png": smooth(5)}


def sha(content):
    return hashlib.sha256(content).hexdigest()


def test_sums_and_pictures_are_left_out_and_counted(tmp_path):
    own.write(tmp_path, {"gone/x.png": FILES["e.png"], "gone/README": "no picture"})
    lines = ["# withdrawn", f"{sha(FILES['a.png'])}   # by mail", "", sha(FILES["c.png"]).upper(), "gone", "0" * 64]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = own.made(tmp_path / "in", FILES, opt_out=tmp_path / "list.txt")
    assert set(own.examples(found)) == {"b.png", "g.png"}        # e is there again, smaller and compressed
    assert found.card["opted_out"] == found.card["quarantined"][optout.REASON] == 5
    told = (found.folder / "ingest.json").read_text()
    assert told.count("its file is on the list") == 4 and told.count("it looks like one on the list") == 1


def test_a_sum_of_pixels_leaves_out_the_same_pixels_in_another_file(tmp_path):
    files = {"a.png": own.png(1), "b.png": own.png(2)}
    first = own.made(tmp_path / "in", files)
    row = next(line for line in (first.folder / "ledger.csv").read_text().splitlines() if line.startswith("a.png"))
    (tmp_path / "list.txt").write_text(row.split(",")[1])
    second = own.made(tmp_path / "in", files | {"c.bmp": b""}, opt_out=tmp_path / "list.txt")
    assert set(own.examples(second)) == {"b.png"} and second.name != first.name
    assert own.made(tmp_path / "in", {}).name == first.name      # without the list, the old one is found


def test_the_environment_names_a_list_too(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text(sha(own.png(1)))
    monkeypatch.setenv(optout.VARIABLE, str(tmp_path / "list.txt"))
    assert own.made(tmp_path / "in", {"a.png": 1, "b.png": 2}).card["opted_out"] == 1


@pytest.mark.parametrize("text, says", [("nowhere.png", "line 2 of"), (None, "cannot be read")])
def test_a_list_that_cannot_be_honored_stops_the_ingestion(text, says, tmp_path):
    own.write(tmp_path / "in", {"a.png": 1})
    if text:
        (tmp_path / "list.txt").write_text(f"# list\n{text}\n")
    with pytest.raises(DataError, match=says):
        own.made(tmp_path / "in", {}, opt_out=tmp_path / "list.txt")
    told = shell.call("data", "--folder", tmp_path / "in", "--opt-out", tmp_path / "list.txt")
    assert told.code == 2 and says in told.err and told.err.count("\n") == 1
