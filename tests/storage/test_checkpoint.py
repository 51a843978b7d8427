"""Checkpoints: every bit comes back, the right ones stay, and what is damaged is named."""
import errno
import gc
import hashlib
import logging
import os
import shutil
import subprocess
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shell import contents

from imggen_jax.errors import RunError, SaveError
from imggen_jax.step import TrainState
from imggen_jax.storage import checkpoint


def state(step=3, seed=0):
    rng = np.random.default_rng(seed)
    weights = {"kernel": rng.normal(size=(5, 7)).astype(np.float32),
               "bias": np.array([np.nan, -0.0, np.inf], np.float32)}
    mutable = {"pool": rng.integers(0, 256, (2, 4), np.uint8), "half": np.full(3, 1.5, jnp.bfloat16)}
    return TrainState(step=np.int32(step), params={"vae": weights}, opt={"vae": (np.int32(9), {"mu": weights["bias"]})},
                      mutable=mutable, average={"vae": weights}, finite=np.array(True))


def shape(of):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), of)


def saved(workdir, *steps, keep=2, **options):
    said = []
    saver = checkpoint.Saver(workdir, keep=keep, say=said.append, **options)
    for step in steps:
        saver.save(state(step), {"images": 8 * step})
    saver.wait()
    saver.close()
    assert not said


def newest(workdir, set_aside=True):
    """What is found, and what is said."""
    said = []
    return checkpoint.newest(workdir, set_aside=set_aside, say=said.append), said


def names(workdir):
    return {folder.name for folder in (workdir / "checkpoints").iterdir()}


def test_every_bit_and_type_comes_back(tmp_path):
    saved(tmp_path, 3)
    back = checkpoint.restore(tmp_path, 3, shape(state()))
    assert jax.tree.structure(back) == jax.tree.structure(state())
    for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(state())):
        right = np.asarray(right)
        assert isinstance(left, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    assert checkpoint.fingerprint(back) == checkpoint.fingerprint(state())
    assert checkpoint.meta(tmp_path, 3) == {"images": 24}


def test_the_last_few_stay_and_one_at_every_so_many_steps(tmp_path):
    saved(tmp_path, *range(1, 10), keep=2, keep_every=4)
    assert checkpoint.steps(tmp_path) == [4, 8, 9]
    assert newest(tmp_path) == (9, [])


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert newest(tmp_path) == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert newest(tmp_path) == (None, [])


def test_looking_changes_nothing_and_says_nothing(tmp_path, caplog):
    saved(tmp_path, 1, 2)
    (tmp_path / "checkpoints" / "3.partial").mkdir()  # of a run that is saving at this moment
    before = contents(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path, set_aside=False) == (2, [])
        checkpoint.restore(tmp_path, 1, shape(state()))
    assert contents(tmp_path) == before
    assert not caplog.records


def test_a_killed_save_does_not_count_and_is_removed(tmp_path):
    saved(tmp_path, 2)
    shutil.copytree(tmp_path / "checkpoints" / "2", tmp_path / "checkpoints" / "5.partial")
    assert newest(tmp_path) == (2, [])
    saved(tmp_path, 6)
    assert names(tmp_path) == {"2", "6"}


def test_the_manifest_is_that_of_sha256sum(tmp_path):
    saved(tmp_path, 3)
    folder = tmp_path / "checkpoints" / "3"
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    lines = dict(reversed(line.split("  ")) for line in files.pop("SHA256SUMS").read_text().splitlines())
    assert lines == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    return "it is empty"


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(folder):
    data = largest(folder)
    data.write_bytes(data.read_bytes()[:data.stat().st_size // 2])
    return f"{data.relative_to(folder)} differs from its sha256"


def flip(folder):
    data = largest(folder)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    return f"{data.relative_to(folder)} differs from its sha256"


def lose(folder):
    (folder / "state.npz").unlink()
    return "state.npz is missing"


def unlist(folder):
    path = folder / "SHA256SUMS"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "state.npz" not in line))
    return "SHA256SUMS does not list state.npz"


def without_manifest(folder):
    (folder / "SHA256SUMS").unlink()
    return "SHA256SUMS is missing"


def cut_manifest(folder):
    path = folder / "SHA256SUMS"
    path.write_bytes(path.read_bytes()[:-1])
    return "SHA256SUMS cannot be read"


DAMAGES = [empty, truncate, flip, lose, unlist, without_manifest, cut_manifest]


def test_files_of_other_programs_are_ignored(tmp_path):
    saved(tmp_path, 3, 4)
    for folder in (tmp_path / "checkpoints", tmp_path / "checkpoints" / "4"):
        for name in (".DS_Store", "._state.npz", "Thumbs.db", "state (copy).npz", "desktop.ini"):
            (folder / name).write_bytes(b"anything")
        (folder / ".Spotlight-V100").mkdir()
        (folder / ".Spotlight-V100" / "store").write_bytes(b"anything")
    assert newest(tmp_path) == (4, [])
    assert checkpoint.fingerprint(checkpoint.restore(tmp_path, 4, shape(state()))) == checkpoint.fingerprint(state(4))
    saved(tmp_path, 5, 6)  # and they do not keep an old checkpoint from being removed
    assert checkpoint.steps(tmp_path) == [5, 6]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_set_aside_for_the_one_before_it(tmp_path, damage):
    saved(tmp_path, 3, 4)
    reason = damage(tmp_path / "checkpoints" / "4")
    before = contents(tmp_path)
    damaged = contents(tmp_path / "checkpoints" / "4")

    step, said = newest(tmp_path, set_aside=False)
    assert step == 3 and contents(tmp_path) == before
    assert said == [f"warning: checkpoint {tmp_path}/checkpoints/4 is damaged ({reason}): using the one of step 3"]

    step, said = newest(tmp_path)
    assert step == 3 and names(tmp_path) == {"3", "damaged-4"}
    assert contents(tmp_path / "checkpoints" / "damaged-4") == damaged
    assert said == [f"warning: checkpoint {tmp_path}/checkpoints/4 is damaged ({reason}): moved to damaged-4, "
                    "using the one of step 3"]
    assert newest(tmp_path) == (3, [])


def test_the_same_step_may_be_damaged_again(tmp_path):
    for number in range(3):
        saved(tmp_path, *([3, 4] if number == 0 else [4]))
        flip(tmp_path / "checkpoints" / "4")
        assert newest(tmp_path)[0] == 3
    assert names(tmp_path) == {"3", "damaged-4", "damaged-4.1", "damaged-4.2"}


@pytest.mark.parametrize("set_aside", [True, False])
def test_a_run_never_starts_over_silently(tmp_path, set_aside):
    saved(tmp_path, 3, 4)
    for step in (3, 4):
        flip(tmp_path / "checkpoints" / str(step))
    before = contents(tmp_path)
    for _ in range(2):
        message = r"all 2 checkpoints in .* are damaged \(step 4: .*differs.*start over in another --workdir"
        with pytest.raises(RunError, match=message) as raised:
            newest(tmp_path, set_aside)
        assert "delete" not in str(raised.value)
        assert contents(tmp_path) == before
    shutil.rmtree(tmp_path / "checkpoints" / "3")
    (tmp_path / "checkpoints" / "4").rename(tmp_path / "checkpoints" / "damaged-4")
    with pytest.raises(RunError, match="only the damaged damaged-4; restore"):
        newest(tmp_path, set_aside)


def test_a_checkpoint_that_is_removed_while_it_is_looked_at_is_not_damaged(tmp_path, monkeypatch):
    saved(tmp_path, 3)
    check = checkpoint.damage

    def remove(folder):  # the run continues at the worst of moments
        if folder.name == "3":
            saved(tmp_path, 4, keep=1)
        return check(folder)

    monkeypatch.setattr(checkpoint, "damage", remove)
    assert newest(tmp_path, set_aside=False) == (4, [])


def full(monkeypatch, after=0):
    """A disk that is full, once so many files have been given their place."""
    left, fsync = [after], os.fsync

    def no_room(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", no_room)


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_is_told_and_earlier_checkpoints_stay_and_later_ones_are_tried(tmp_path, monkeypatch, after):
    saved(tmp_path, 2, 3)
    said = []
    saver = checkpoint.Saver(tmp_path, keep=1, say=said.append)
    with monkeypatch.context() as patch:
        full(patch, after)
        saver.save(state(4), {})
        saver.save(state(5), {})
        assert len(said) == 1
        with pytest.raises(SaveError, match=r"cannot be written to .*checkpoints \(No space left on device\); the "
                                            "checkpoint of step 3 is intact. Make room"):
            saver.wait()
    assert len(said) == 2 and names(tmp_path) == {"2", "3"}
    assert all("(No space left on device); the checkpoint of step 3 is intact. The run cont" in line for line in said)
    saver.save(state(6), {})
    saver.wait()
    assert newest(tmp_path) == (6, []) and names(tmp_path) == {"6"}
    assert len(said) == 2


def test_a_step_is_written_once(tmp_path):
    saver = checkpoint.Saver(tmp_path, keep=2, say=pytest.fail)
    for images in (1, 2):  # as from another thread and from this one, after a signal
        saver.save(state(4), {"images": images})
    saver.wait()
    saver.close()
    assert newest(tmp_path) == (4, []) and checkpoint.meta(tmp_path, 4) == {"images": 1}


def test_a_failure_is_noticed_without_waiting(tmp_path, monkeypatch):
    said = []
    saver = checkpoint.Saver(tmp_path, keep=1, say=said.append)
    full(monkeypatch)
    saver.save(state(4), {})
    while not said:
        saver.check()
    assert "nothing has been saved yet" in said[0]
    saver.close()


def test_a_checkpoint_with_other_arrays_is_refused_and_the_first_one_named(tmp_path):
    saved(tmp_path, 3)
    whole = shape(state())
    kernel, bias = (whole.params["vae"][name] for name in ("kernel", "bias"))
    for weights, message in (
        ({"kernel": kernel}, "checkpoints/3 has an array params.vae.bias, which this run does not have"),
        ({"kernel": kernel, "bias": bias, "scale": bias}, "checkpoints/3 has no array params.vae.scale"),
        ({"kernel": jax.ShapeDtypeStruct((7, 5), np.float32), "bias": bias},
         r"params.vae.kernel is float32 \[5, 7\] in the checkpoint and float32 \[7, 5\] in this run"),
        ({"kernel": kernel, "bias": jax.ShapeDtypeStruct((3,), np.float16)},
         r"params.vae.bias is float32 \[3\] in the checkpoint and float16 \[3\] in this run"),
    ):
        with pytest.raises(RunError, match=f"{message}.*another version") as raised:
            checkpoint.restore(tmp_path, 3, whole._replace(params={"vae": weights}))
        assert "delete" not in str(raised.value)


def test_double_precision_is_named_as_the_cause(tmp_path):
    saved(tmp_path, 3)
    with jax.enable_x64(True):
        wide = state()._replace(step=jax.ShapeDtypeStruct((), np.int64))
        with pytest.raises(RunError, match=r"step is int32 \[\] in the checkpoint and int64 \[\] in this run; "
                                           "JAX_ENABLE_X64 is set here"):
            checkpoint.restore(tmp_path, 3, shape(wide))
    narrow = state()._replace(step=jax.ShapeDtypeStruct((), np.int16))
    with pytest.raises(RunError, match="another version"):
        checkpoint.restore(tmp_path, 3, shape(narrow))
    saver = checkpoint.Saver(tmp_path, keep=2)
    saver.save(state(4)._replace(opt={"vae": np.zeros(3)}), {})
    saver.close()
    with pytest.raises(RunError, match=r"opt.vae is float64 \[3\].*saved with JAX_ENABLE_X64=1: set it here too"):
        checkpoint.restore(tmp_path, 4, shape(state()._replace(opt={"vae": np.zeros(3, np.float32)})))


def test_a_part_is_read_without_the_rest(tmp_path):
    saved(tmp_path, 3)
    path = tmp_path / "checkpoints" / "3" / "state.npz"
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content if name.startswith("average.") else b"nothing that NumPy can read")
    average = checkpoint.restore(tmp_path, 3, shape(state()).average, prefix="average")
    assert checkpoint.fingerprint(average) == checkpoint.fingerprint(state().average)
    with pytest.raises(RunError, match="has no array averag.vae"):  # no prefix of a name, but a name
        checkpoint.restore(tmp_path, 3, shape(state()).average, prefix="averag")
    with pytest.raises(RunError, match="state.npz cannot be read"):
        checkpoint.restore(tmp_path, 3, shape(state()))


def test_nothing_is_unpickled(tmp_path):
    saved(tmp_path, 3)
    path = tmp_path / "checkpoints" / "3" / "state.npz"
    with open(path, "wb") as file:
        np.savez(file, step=np.array([print], object))
    with pytest.raises(RunError, match="checkpoints/3/state.npz cannot be read .*allow_pickle=False"):
        checkpoint.restore(tmp_path, 3, {"step": jax.ShapeDtypeStruct((), np.int32)})
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint._write_arrays(path, {"step": np.array([print], object)})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk, capfd):
    large = state()._replace(mutable={"pool": np.zeros(150_000, np.float32)})
    said = []
    saver = checkpoint.Saver(small_disk, keep=1, say=said.append)
    for step in (1, 2):
        saver.save(state(step), {})
        saver.save(large._replace(step=np.int32(9)), {})
    with pytest.raises(SaveError, match="No space left on device.*the checkpoint of step 2 is intact"):
        saver.wait()
    saver.close()
    assert len(said) == 2 and names(small_disk) == {"2"} and newest(small_disk) == (2, [])
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_the_fingerprint_is_sha256_over_names_types_shapes_and_bytes():
    tree = {"b": np.arange(2, dtype=np.int32), "a": np.float32(1)}
    wanted = b"a float32 ()\n\x00\x00\x80\x3f" + b"b int32 (2,)\n\x00\x00\x00\x00\x01\x00\x00\x00"
    assert checkpoint.fingerprint(tree) == hashlib.sha256(wanted).hexdigest()
    others = [{**tree, "a": np.float64(1)}, {**tree, "b": tree["b"][None]}, {"b": tree["b"], "c": tree["a"]},
              {**tree, "a": np.nextafter(np.float32(1), np.float32(2))}]
    assert len({checkpoint.fingerprint(other) for other in [tree, *others]}) == 5


def test_leaves_are_named_by_their_path():
    assert list(checkpoint.flatten(state())) == [
        "step", "params.vae.bias", "params.vae.kernel", "opt.vae.0", "opt.vae.1.mu", "mutable.half", "mutable.pool",
        "average.vae.bias", "average.vae.kernel", "finite"]
