"""Checkpoints: every bit comes back, the right ones stay, and what is damaged is named."""
import hashlib
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shell import contents

from imggen_jax.runs import checkpoint
from imggen_jax.runs.errors import RunError
from imggen_jax.step import TrainState


def state(step=3, seed=0):
    rng = np.random.default_rng(seed)
    weights = {"kernel": rng.normal(size=(5, 7)).astype(np.float32),
               "bias": np.array([np.nan, -0.0, np.inf], np.float32)}
    extra = {"pool": rng.integers(0, 256, (2, 4), np.uint8), "half": np.full(3, 1.5, jnp.bfloat16)}
    return TrainState(step=np.int32(step), params={"vae": weights}, opt={"vae": (np.int32(9), {"mu": weights["bias"]})},
                      extra=extra, average={"vae": weights}, healthy=np.array(True))


def shape(of):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), of)


def saved(workdir, *steps, **options):
    manager = checkpoint.open_manager(workdir, **options)
    for step in steps:
        checkpoint.save(manager, state(step), {"images": 8 * step})
    checkpoint.finish(manager)


def restored(workdir, step):
    manager = checkpoint.open_manager(workdir, read_only=True)
    try:
        return checkpoint.restore(manager, step, shape(state()))
    finally:
        manager.close()


def steps(workdir):
    return sorted(int(folder.name) for folder in (workdir / "checkpoints").iterdir())


def test_every_bit_and_type_comes_back(tmp_path):
    saved(tmp_path, 3)
    back = restored(tmp_path, 3)
    assert jax.tree.structure(back) == jax.tree.structure(state())
    for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(state())):
        right = np.asarray(right)
        assert isinstance(left, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    assert checkpoint.fingerprint(back) == checkpoint.fingerprint(state())


def test_the_last_few_stay_and_one_at_every_so_many_rounds(tmp_path):
    saved(tmp_path, *range(1, 10), keep=2, keep_every=4)
    assert steps(tmp_path) == [4, 8, 9]
    assert checkpoint.latest_step(tmp_path) == 9


def test_a_run_without_checkpoints_has_no_latest_step(tmp_path):
    assert checkpoint.latest_step(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.latest_step(tmp_path) is None


def test_looking_changes_nothing_and_says_nothing(tmp_path, caplog):
    saved(tmp_path, 1, 2, keep=2)
    (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir()  # of a run that is saving at this moment
    before = contents(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest_step(tmp_path) == 2
        restored(tmp_path, 1)
    assert contents(tmp_path) == before
    assert not caplog.records


def test_a_killed_save_does_not_count_and_is_removed(tmp_path):
    saved(tmp_path, 2)
    shutil.copytree(tmp_path / "checkpoints" / "2", tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp")
    assert checkpoint.latest_step(tmp_path) == 2
    saved(tmp_path, 6, keep=2)
    assert steps(tmp_path) == [2, 6]


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def truncate(folder):
    data = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:data.stat().st_size // 2])


def lose(folder):
    shutil.rmtree(folder / "state")


@pytest.mark.parametrize("damage", [empty, truncate, lose])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_good(tmp_path, damage):
    saved(tmp_path, 3, 4, keep=2)
    damage(tmp_path / "checkpoints" / "4")
    with pytest.raises(RunError, match="checkpoints/4 cannot be restored.*delete that folder"):
        restored(tmp_path, 4)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    assert checkpoint.latest_step(tmp_path) == 3
    assert checkpoint.fingerprint(restored(tmp_path, 3)) == checkpoint.fingerprint(state())


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    saved(tmp_path, 3)
    manager = checkpoint.open_manager(tmp_path, read_only=True)
    other = shape(state())._replace(params={"vae": {"kernel": jax.ShapeDtypeStruct((5, 7), np.float32)}})
    with pytest.raises(RunError, match="checkpoints/3 cannot be restored"):
        checkpoint.restore(manager, 3, other)
    manager.close()


def test_the_fingerprint_is_sha256_over_names_types_shapes_and_bytes():
    tree = {"b": np.arange(2, dtype=np.int32), "a": np.float32(1)}
    wanted = b"a float32 ()\n\x00\x00\x80\x3f" + b"b int32 (2,)\n\x00\x00\x00\x00\x01\x00\x00\x00"
    assert checkpoint.fingerprint(tree) == hashlib.sha256(wanted).hexdigest()
    others = [{**tree, "a": np.float64(1)}, {**tree, "b": tree["b"][None]}, {"b": tree["b"], "c": tree["a"]},
              {**tree, "a": np.nextafter(np.float32(1), np.float32(2))}]
    assert len({checkpoint.fingerprint(other) for other in [tree, *others]}) == 5


def test_leaves_are_named_by_their_path():
    assert list(checkpoint.flatten(state())) == [
        "step", "params.vae.bias", "params.vae.kernel", "opt.vae.0", "opt.vae.1.mu", "extra.half", "extra.pool",
        "average.vae.bias", "average.vae.kernel", "healthy"]
