"""Examples that are pairs: of two datasets, aligned or not, and of a folder with two kinds of pictures."""
import numpy as np
import own
import pytest
import tiny

from imggen_jax.config import check
from imggen_jax.errors import ConfigError, DataError
from imggen_jax.training.dataset import open_split


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """{how the folder is read: what was made of it}: five pictures of each kind, seven of B where unaligned."""
    root = tmp_path_factory.mktemp("pairs")
    files = {f"{kind}/{i}.png": 100 * (kind == "B") + i for kind in "AB" for i in range(5)}
    more = {f"B/{i}.png": 100 + i for i in (5, 6)}
    return {"aligned": own.made(root / "one" / "in", files, pairs="aligned"),
            "unaligned": own.made(root / "two" / "in", files | more, pairs="unaligned")}


def opened(made, **data):
    config = tiny.config("paired", "l1", tiny.TRANSLATED)
    config["data"] |= {"name": made.name, "dir": made.dir, "flip": False, **data}
    return open_split(check(config), "train")


def test_a_folder_of_two_kinds_is_pairs_of_any_of_them(prepared):
    dataset = opened(prepared["unaligned"], pairs="unaligned")
    assert set(dataset.spec) == {"source", "image"} and dataset.length == 7
    found = dataset.read(np.arange(7))
    number = {name: len({one.tobytes() for one in each}) for name, each in found.items()}
    assert number == {"source": 5, "image": 7}
    assert not {one.tobytes() for one in found["source"]} & {one.tobytes() for one in found["image"]}


def test_pairs_of_a_folder_need_no_fields(prepared):
    assert set(opened(prepared["aligned"], pairs="aligned").spec) == {"source", "image"}


def test_another_dataset_is_the_source(prepared):
    made = prepared["aligned"]
    aligned, apart = (opened(made, source=made.name, fields=("image",), pairs=pairs) for pairs in ("", "unaligned"))
    rows = np.arange(aligned.length)
    found = aligned.read(rows)
    np.testing.assert_array_equal(found["source"], found["image"])
    assert aligned.length == apart.length == 5
    assert not np.array_equal(*apart.read(rows).values()) and aligned.fingerprint != apart.fingerprint
    crops = opened(made, source=made.name, fields=("image",), crop=8)
    bits = np.arange(5, dtype=np.uint64) * 12345678901
    np.testing.assert_array_equal(*crops.read(rows, bits).values())  # the same place in both


def test_what_cannot_be_paired_is_named(prepared):
    with pytest.raises(DataError, match="domain"):
        opened(prepared["aligned"], pairs="unaligned")
    with pytest.raises(ConfigError, match="config.data.source is 'x', the partner of a dataset"):
        opened(prepared["aligned"], pairs="side-by-side", source="x")
