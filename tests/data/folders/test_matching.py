"""Captions and rows find their files, however case and accents are written."""
import io
import os
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from imggen_jax.data import DataError, ingest
from imggen_jax.data.folders import lines

SIZE = 16
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def made(root, files, **options):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return ingest(root, size=SIZE, out=root.parent / "out", workers=1, **options).card


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("file", "named"), [
    (f"{NFD}.png", f"{NFC}.png"), (f"{NFC}.png", f"{NFD}.png"), ("IMG_1.PNG", "img_1.png"),
    (f"{NFD}/Deep/1.png", f"{NFC}\\deep\\1.PNG"), ("a.png", " ./a.png "), ("ß.png", "SS.png")])
def test_a_row_finds_its_file(file, named, tmp_path):
    card = made(tmp_path / "in", {file: png(0), "metadata.csv": f"file_name,text,license\n{named},a picture,CC0\n"})
    assert card["captions"] == 1 and card["rows_without_picture"] == 0


@pytest.mark.parametrize(("file", "caption"), [(f"{NFD}.png", f"{NFC}.txt"), ("IMG_1.PNG", "img_1.txt")])
def test_a_caption_finds_its_picture(file, caption, tmp_path):
    card = made(tmp_path / "in", {file: png(0), caption: "a picture"})
    assert card["captions"] == 1 and card["quarantined"] == {}


def test_a_table_may_be_written_in_capitals(tmp_path):
    files = {"a.png": png(0), "Metadata.CSV": "file_name,text\na.png,a picture\n"}
    assert made(tmp_path / "in", files)["captions"] == 1


def test_names_that_differ_in_case_only_stay_apart(tmp_path):
    card = made(tmp_path / "in", {"a.png": png(0), "A.png": png(1), "a.txt": "small", "B.png": png(2), "b.txt": "b"})
    assert card["captions"] == 2
    card = made(tmp_path / "on", {"x.png": png(0), "X.png": png(1), "metadata.csv": "file_name,text\nx.PNG,which?\n"})
    assert card["captions"] == 0 and card["rows_without_picture"] == 1


def test_a_row_without_a_file_is_named_with_the_nearest(tmp_path):
    card = made(tmp_path / "in", {"cat_1.png": png(0), "dog.png": png(1),
                                  "metadata.csv": "file_name,text\ncat1.png,a\nqqqqqq,b\n"})
    assert card["rows_unmatched"] == [["cat1.png", "cat_1.png"], ["qqqqqq", ""]]
    assert dict(lines(card))["Note"] == ("2 metadata rows name no file that is there: cat1.png (the nearest is "
                                         "cat_1.png); qqqqqq")


def test_a_caption_in_an_unknown_encoding_is_one_clear_line(tmp_path):
    files = {"a.png": png(0), "a.txt": "très".encode("latin-1"), "README.txt": "très".encode("latin-1")}
    with pytest.raises(DataError, match="the caption a.txt is not UTF-8.*iconv -f latin1 -t utf-8") as error:
        made(tmp_path / "in", files)
    assert "\n" not in str(error.value)
    del files["a.txt"]
    assert made(tmp_path / "on", files)["quarantined"] == {"not a picture": 1}


def test_a_table_that_cannot_be_read_is_one_clear_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as out:
        out.writestr("a.png", png(0))
        out.writestr("metadata.csv", "file_name,text\na.png,hello\n")
    data = (tmp_path / "in.zip").read_bytes()
    (tmp_path / "crc.zip").write_bytes(data.replace(b"a.png,hello", b"a.png,hullo"))
    # The compression method, in the member's own header and in the directory: one that nothing knows.
    method = bytearray(data)
    method[data.rindex(b"PK\3\4") + 8] = method[data.rindex(b"PK\1\2") + 10] = 77
    (tmp_path / "method.zip").write_bytes(method)
    for name, said in (("crc.zip", "Bad CRC-32"), ("method.zip", "compression method")):
        with pytest.raises(DataError, match=f"metadata.csv cannot be read .*{said}") as error:
            ingest(tmp_path / name, size=SIZE, out=tmp_path / "out", workers=1)
        assert "\n" not in str(error.value)


def test_a_table_that_may_not_be_read_is_one_clear_line(tmp_path, monkeypatch):
    original = os.open

    def refuse(path, *rest):
        if os.fsencode(path).endswith(b"metadata.csv"):
            raise PermissionError(13, "Permission denied")
        return original(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match="metadata.csv cannot be read .Permission denied"):
        made(tmp_path / "in", {"a.png": png(0), "metadata.csv": "file_name\na.png\n"})
