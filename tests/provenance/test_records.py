"""Records in pictures, and that an edited one gives an error or a text and nothing else."""
import json

import numpy as np
import pytest
from PIL import Image

from imggen_jax.errors import RunError
from imggen_jax.pictures import grids
from imggen_jax.provenance import records
from imggen_jax.provenance.records import Family, Record


def record(verb="vary", parents=(), **arguments):
    return Record(verb, "faces", "ab" * 32, records.encode_latent(np.array([1.5, -2.25, 3e-8])),
                  {"label": [3, "red"]}, 7, arguments,
                  tuple(parent.record.name for parent in parents))


def member(verb="vary", parents=(), **arguments):
    return records.family(record(verb, parents, **arguments), parents)


def test_a_picture_carries_its_family_to_the_bit(tmp_path):
    eldest = [member("seed", seed=1), member("seed", seed=2)]
    middle = member("breed", eldest, weights=[0.5, 1], mutate=0.25, note="x")
    child = member("edit", [middle], genes=["hair=red:+1.5"])
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    grids.write_png(tmp_path / "a.png", image, records.png_info(child))
    found = records.read(tmp_path / "a.png")
    assert found == child and set(found.ancestors) == {one.record.name for one in (*eldest, middle)}
    assert found.record.vector().tolist() == np.array([1.5, -2.25, 3e-8], np.float32).tolist()
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), image)


def test_latents_as_large_as_those_of_a_million_pixels_are_kept():
    """64 x 64 places of 128 numbers, as of FLUX.2 klein; what is larger is refused when it is written."""
    latent = np.arange(64 * 64 * 128, dtype=np.float32)
    child = records.family(record()._replace(latent=records.encode_latent(latent)), [member("seed", seed=1)])
    again = records.loads(records.dumps(child), "a.png")
    assert again == child and np.array_equal(again.record.vector(), latent)
    with pytest.raises(RunError, match="has a latent of 1,048,577 numbers, and a file keeps at most 1,048,576; choose"):
        records.encode_latent(np.zeros(records.MOST_LATENT + 1, np.float32))


def test_a_picture_without_metadata_has_no_family(tmp_path):
    grids.write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert records.read(tmp_path / "a.png") is None


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    for name, said in (("a.png", "is not a picture that can be read"), ("b.png", "is not there")):
        with pytest.raises(RunError, match=rf"{name} {said}"):
            records.read(tmp_path / name)


def test_of_very_many_ancestors_the_nearest_stay():
    one = member("seed", seed=0)
    for number in range(records.MOST_ANCESTORS + 20):
        one = member("vary", [one], number=number)
    assert len(one.ancestors) == records.MOST_ANCESTORS
    again = records.loads(records.dumps(one), "a.png")
    assert again.record == one.record and again.record.parents[0] in again.ancestors


def content(**changes):
    plain = json.loads(records.dumps(member("vary", [member("seed", seed=1)], strength=0.3)))
    plain["picture"] |= changes
    return plain


HOSTILE = {
    "not JSON": "{", "a list": "[]", "a number": "3", "nothing": "", "null": "null", "deep": "[" * 100_000,
    "no picture": json.dumps({"format": 2, "ancestors": {}}),
    "another format": json.dumps({**content(), "format": 3}),
    "a field more": json.dumps(content(path="/etc/passwd")),
    "ancestors are a list": json.dumps({**content(), "ancestors": [1]}),
    "an ancestor is a text": json.dumps({**content(), "ancestors": {"a": "b"}}),
    "too long": json.dumps({**content(), "ancestors": {"x": "y" * records.MOST_BYTES}}),
    "too long for a sheet": json.dumps({**content(verb="sheet"), "ancestors": {"x": "y" * records.MOST_SHEET_BYTES}}),
    "too many parents": json.dumps(content(parents=["a"] * (records.MOST_ANCESTORS + 1))),
    "too many pictures": json.dumps(content(verb="sheet", parents=["a"] * (records.MOST_ON_SHEET + 1))),
    "the picture is a list": json.dumps({"format": 2, "picture": [], "ancestors": {}}),
    "latent is a number": json.dumps(content(latent=3)),
    "latent is no base64": json.dumps(content(latent="!!!!")),
    "latent is cut": json.dumps(content(latent="AAAA")),
    "latent is not finite": json.dumps(content(latent="AADAfwAAwH8=")),
    "given is a list": json.dumps(content(given=[3])),
    "given is nested": json.dumps(content(given={"label": {"index": 3}})),
    "place is negative": json.dumps(content(place=-1)),
    "place is huge": json.dumps(content(place=2**40)),
    "verb is long": json.dumps(content(verb="x" * 1000)),
    "run is a list": json.dumps(content(run=["a"])),
    "weights is null": json.dumps(content(weights=None)),
    "parents is a text": json.dumps(content(parents="abc")),
    "arguments is a list": json.dumps(content(arguments=[1])),
    "an argument is nested": json.dumps(content(arguments={"a": [[[1]]]})),
    "an argument is a mapping": json.dumps(content(arguments={"a": {"b": 1}})),
    "an argument is infinite": json.dumps(content(arguments={"a": float("inf")})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_edited_metadata_is_refused_in_one_line_that_names_the_picture(case):
    with pytest.raises(RunError, match=r"the metadata of face\.png is damaged") as error:
        records.loads(HOSTILE[case], "face.png")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_an_edited_ancestor_is_dropped():
    plain = content()
    (name,) = plain["ancestors"]
    plain["ancestors"][name]["verb"] = "stolen"
    assert records.loads(json.dumps(plain), "a.png").ancestors == {}


def test_a_sheet_names_its_pictures_in_order():
    members = [member("seed", seed=k) for k in range(3)]
    sheet = records.sheet(members, columns=3)
    assert sheet.record.parents == tuple(one.record.name for one in members)
    assert sheet.ancestors == {one.record.name: one.record for one in members}
    assert records.loads(records.dumps(sheet), "sheet.png") == sheet


def test_a_sheet_of_very_many_pictures_names_all_or_none_of_them(tmp_path):
    eldest = member("seed", seed=-1)
    members = [member("vary", [eldest], number=k) for k in range(1_100)]
    grids.write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), records.png_info(records.sheet(members)))
    found = records.read(tmp_path / "a.png")
    assert found.record.parents == tuple(one.record.name for one in members)
    assert {**found.ancestors, **{one.record.name: one.record for one in members}} == found.ancestors
    too_many = records.sheet(members[:1] * (records.MOST_ON_SHEET + 1))
    assert records.loads(records.dumps(too_many), "a.png").record.parents == ()


def test_records_are_equal_by_what_they_say():
    assert record(seed=1).name == record(seed=1).name != record(seed=2).name
    assert isinstance(member(), Family)
