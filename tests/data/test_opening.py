"""What is known of a dataset before it is decoded, and whether it is kept in memory or streamed."""
import re

import pytest

from imggen_jax import data
from imggen_jax.data import resident


@pytest.mark.parametrize("change", [dict(), dict(label="label"), dict(size=4), dict(split="test[:3]")])
def test_peek_tells_what_load_gives(tiny, change):
    asked = dict(name="tiny", split="train", dir=str(tiny), size=0, label="") | change
    dataset = data.load(**asked, cache=None)
    assert data.peek(**asked) == (dataset.images.shape[1], dataset.images.shape[3], dataset.classes)


@pytest.mark.parametrize("change", [dict(name="tinny"), dict(split="x"), dict(label="x"), dict(size=-1),
                                    dict(size=10**6), dict(name="stacked_mnist"),
                                    dict(name="stacked_mnist", label="x")])
def test_peek_refuses_what_load_refuses(tiny, change):
    asked = dict(name="tiny", split="train", dir=str(tiny), size=0, label="") | change
    with pytest.raises(data.DataError) as by_load:
        data.load(**asked, cache=None)
    with pytest.raises(data.DataError) as by_peek:
        data.peek(**asked)
    strip = [re.sub(r"[0-9.]+ GiB of free", "", str(caught.value)) for caught in (by_load, by_peek)]
    assert strip[0] == strip[1]


def asked(root, **change):
    return dict(name="tiny", split="train", dir=str(root), size=0, label="label") | change


def test_what_fits_is_kept_and_what_does_not_is_streamed_and_said(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path))
    assert isinstance(data.open_dataset(**asked(tiny), memory="auto"), data.Dataset)
    assert not capsys.readouterr().err
    monkeypatch.setattr(resident, "_free_memory", lambda: 2 * 300 * 8 * 8 * 3 - 1)
    assert isinstance(data.open_dataset(**asked(tiny), memory="auto"), data.Streamed)
    told = capsys.readouterr().err
    assert re.fullmatch("tiny:1.0.0, split 'train' decoded to 8x8 takes 0.0 GiB, more than half of the 0.0 GiB of free "
                        r"memory: its pictures are read and decoded as they are needed \(data.memory\)\n", told)
    with pytest.raises(data.DataError, match="set data.memory to 'stream', or take a smaller data.size"):
        data.open_dataset(**asked(tiny), memory="resident")
    monkeypatch.setattr(resident, "_free_memory", lambda: 2 * 300 * 8 * 8 * 3)
    assert isinstance(data.open_dataset(**asked(tiny), memory="resident"), data.Dataset)


def test_what_does_not_fit_is_no_error_of_peek_unless_it_must_be_resident(tiny):
    for memory in ("auto", "stream"):
        assert data.peek(**asked(tiny, size=10**6), memory=memory) == (10**6, 3, 2)
    with pytest.raises(data.DataError, match="more than half of"):
        data.peek(**asked(tiny, size=10**6), memory="resident")


def test_stacked_mnist_does_not_have_to_fit_either(monkeypatch, real):
    monkeypatch.setattr(resident, "_free_memory", lambda: 10**6)
    assert data.peek(name="stacked_mnist", split="train", dir=real, size=0, label="", memory="auto") == (32, 3, 0)
    with pytest.raises(data.DataError, match="stacked_mnist, split 'train' decoded to 32x32 takes 0.4 GiB"):
        data.peek(name="stacked_mnist", split="train", dir=real, size=0, label="", memory="resident")


@pytest.mark.parametrize("call", [data.peek, data.open_dataset])
def test_an_unknown_way_is_named(tiny, call):
    with pytest.raises(data.DataError, match="unknown data.memory 'disk'; choose one of auto, resident, stream"):
        call(**asked(tiny), memory="disk")
