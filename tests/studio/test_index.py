"""The list of pictures: search, lineage, deletion, damage."""
import time

import pytest

from imggen_jax.errors import RunError
from imggen_jax.studio.index import Asked, Index, Picture, new_id


def picture(prompt="a face", model="avatars", when=0.0, **more):
    found = Picture(new_id(), f"made/{prompt}.png", when, "generate", model, prompt, 1, 64, 64, ("generate", "--num"))
    return found._replace(**more)


@pytest.fixture
def index(tmp_path):
    return Index(tmp_path / "index.sqlite")


def test_finds_by_words_model_and_date(index):
    old, new, other = picture("a sad face", when=10.0), picture("a smiling face", when=20.0), picture(
        "100% wool", model="runs/cloth", when=30.0)
    index.add([old, new, other])
    assert [one.id for one in index.find()] == [other.id, new.id, old.id]      # the newest first
    assert index.find(Asked(words="face SMILING")) == [new]
    assert index.find(Asked(model="runs/cloth")) == [other] == index.find(Asked(after=25.0))
    assert index.find(Asked(before=15.0)) == [old]
    assert index.find(Asked(words="0%")) == [other] and index.find(Asked(words="a_face")) == []  # no wildcards
    assert index.count(Asked(words="face")) == 2 and index.models() == ["avatars", "runs/cloth"]
    assert index.find(offset=1, limit=1) == [new]


def test_walks_the_family(index):
    grand, parent, child, cousin, stranger = (picture(name) for name in "abcde")
    index.add([grand, stranger])
    index.add([parent, cousin], [grand.id])
    index.add([child], [parent.id, stranger.id])
    assert index.parents(child.id) == [parent, stranger] and index.children(grand.id) == [cousin, parent] or \
        index.children(grand.id) == [parent, cousin]
    assert index.family(parent.id) == {grand.id, parent.id, child.id}
    assert {one.id for one in index.find(Asked(family=parent.id))} == {grand.id, parent.id, child.id}


def test_only_ids_are_names(index):
    index.add([one := picture()])
    assert index.get(one.id) == one
    for wrong in ("", "../../etc/passwd", one.file, one.id.upper() + "x", "' OR 1=1 --", "0" * 16):
        with pytest.raises(RunError, match="not in the studio"):
            index.get(wrong)


def test_deleted_is_not_found_until_it_is_back(index):
    index.add([one := picture()])
    index.delete(one.id)
    with pytest.raises(RunError):
        index.get(one.id)
    assert index.find() == [] and index.count() == 0
    index.delete(one.id, False)
    assert index.find() == [one]


def test_a_damaged_file_is_set_aside(tmp_path):
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    index = Index(path)
    assert index.rebuilt and index.find() == [] and list(tmp_path.glob("index.sqlite.damaged.*"))
    assert not Index(path).rebuilt


def test_rates_are_kept(index):
    assert index.rate("x") is None
    index.set_rate("x", 2.0)
    index.set_rate("x", 3.0)
    assert Index(index.path).rate("x") == 3.0


def test_many_pictures_are_searched_by_the_index(index):
    now = time.time()
    index.add(picture(f"number {k}", when=now - k) for k in range(3000))
    assert index.count() == 3000 and [one.prompt for one in index.find(offset=2998)] == ["number 2998", "number 2999"]
    with index._open() as base:   # by the order of the dates, not by sorting all
        plan = " ".join(row[3] for row in base.execute("EXPLAIN QUERY PLAN SELECT id FROM pictures WHERE deleted=0 "
                                                       "ORDER BY time DESC, id LIMIT 200").fetchall())
    assert "by_time" in plan and "TEMP B-TREE" not in plan
