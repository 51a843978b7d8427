"""metrics.jsonl is valid JSON with each step once, however a run ends; TensorBoard and the progress bar follow."""
import json
import os
import pty
import termios

import numpy as np
import pytest

from imggen_jax.training import log as logs


def _line(log, step, **scalars):
    log.train(step=step, images=8 * step, scalars={"vae/loss": 1.0 / step, **scalars}, images_per_second=100.0)


def _run(workdir, resume_step, steps, close=True):
    log = logs.open_log(workdir, 80, resume_step)
    log.progress(8 * resume_step)
    for step in steps:
        _line(log, step)
        if step % 2 == 0:
            log.evaluate(step=step, images=8 * step, scalars={"test/elbo": -step})
    if close:
        log.close()
    return log


def _metrics(workdir, *, timing=True):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clocks = () if timing else ("seconds", "cpu_seconds")
    return [{k: v for k, v in line.items() if k not in clocks} for line in lines]


def test_lines_hold_what_was_logged(tmp_path):
    log = logs.open_log(tmp_path, 80)
    log.train(step=3, images=24, scalars={"generator/loss": np.float32(0.1)}, images_per_second=12.5)
    log.evaluate(step=3, images=24, scalars={"test/elbo": -93.25})
    first, second = _metrics(tmp_path)  # before closing: each line is flushed
    log.close()
    assert first.pop("seconds") >= 0 and first.pop("cpu_seconds") >= 0
    assert first == {"step": 3, "images": 24, "images_per_second": 12.5, "generator/loss": 0.100000001}
    assert np.float32(first["generator/loss"]) == np.float32(0.1)
    assert second == {"step": 3, "images": 24, "test/elbo": -93.25}


@pytest.mark.parametrize("killed_after", [4, 5, 6, 9])
def test_interrupted_run_ends_with_the_lines_of_an_uninterrupted_one(tmp_path, killed_after):
    _run(tmp_path / "whole", 0, range(1, 11))
    _run(tmp_path / "cut", 0, range(1, killed_after + 1))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "ima')  # what a kill leaves
    _run(tmp_path / "cut", 4, range(5, 11))
    assert _metrics(tmp_path / "cut", timing=False) == _metrics(tmp_path / "whole", timing=False)


def test_starting_over_drops_everything(tmp_path):
    _run(tmp_path, 0, [1, 2, 3])
    _run(tmp_path, 0, [1])
    assert [line["step"] for line in _metrics(tmp_path)] == [1]


def test_training_time_continues_across_resumes(tmp_path):
    clock = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs.time, "monotonic", lambda: clock)
        patch.setattr(logs.time, "process_time", lambda: 2 * clock)
        log = logs.open_log(tmp_path, 80)
        clock = 10.0
        _line(log, 1)
        clock = 25.0
        _line(log, 2)
        log.close()
        clock = 1000.0
        log = logs.open_log(tmp_path, 80, 1)
        clock = 1007.0
        _line(log, 2)
        log.close()
    assert [line["seconds"] for line in _metrics(tmp_path)] == [10.0, 17.0]
    assert [line["cpu_seconds"] for line in _metrics(tmp_path)] == [20.0, 34.0]


def test_non_finite_values_are_null(tmp_path):
    log = logs.open_log(tmp_path, 80)
    _line(log, 1, nan=float("nan"), inf=np.float32(-np.inf))
    log.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert line["nan"] is None and line["inf"] is None and line["vae/loss"] == 1.0


def test_damaged_lines_are_left_out_when_reading(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert logs.read_metrics(path) == []
    path.write_bytes(b'{"step": 1}\n\x00\x00\xff\n[1]\n{"images": 3}\n{"step": 2}\n{"step"')
    assert logs.read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_pictures_are_named_by_the_images_seen(tmp_path):
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    log = logs.open_log(tmp_path, 80)
    log.picture(step=2, images=1234, name="samples", image=image)
    log.close()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures" / "samples_000001234.png")), image)


def test_tensorboard_gets_scalars_pictures_and_the_restored_step(tmp_path):
    _run(tmp_path, 0, [1, 2])
    log = _run(tmp_path, 1, [2], close=False)
    log.picture(step=2, images=16, name="samples", image=np.zeros((4, 4, 3), np.uint8))
    log.close()
    before, after = [_events(path) for path in sorted((tmp_path / "tensorboard").iterdir())]
    assert ("vae/loss", 2, 0.5) in before and ("test/elbo", 2, -2.0) in before
    assert ("vae/loss", 2, 0.5) in after and ("images_per_second", 2, 100.0) in after
    assert ("samples", 2, "picture") in after
    # What the first start wrote at step 2 and after is to be forgotten by the viewer.
    assert ("restart", 2, None) in after


def _events(path):
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    data, found = path.read_bytes(), []
    while data:  # a TFRecord: length uint64, its checksum uint32, the event, its checksum uint32
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12:12 + length])
        data = data[16 + length:]
        if event.session_log.status == SessionLog.START:
            found.append(("restart", event.step, None))
        for value in event.summary.value:
            found.append((value.tag, event.step, "picture" if value.HasField("image") else value.simple_value))
    return found


def test_without_a_terminal_there_is_a_plain_line_for_each_interval(tmp_path, capsys):
    log = logs.open_log(tmp_path, 100_000)
    log.train(step=1, images=20_000, scalars={"vae/elbo": -93.5, "vae/other": 3.0}, images_per_second=1000.0)
    log.evaluate(step=1, images=20_000, scalars={"test/elbo": -95.25})
    log.train(step=2, images=40_000, scalars={"vae/loss": 1.0}, images_per_second=None)
    log.say("saved")
    log.close()
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first == "20.0k of 100.0k images (20%)  1000 images/s  0:01:20 left  vae/elbo -93.5"
    assert "test/elbo -95.25" in second and fourth == "saved"
    assert third == "40.0k of 100.0k images (40%)  vae 1"


def test_on_a_terminal_there_is_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logs, "_fits_a_bar", lambda stream: True)
    log = logs.open_log(tmp_path, 100_000, 1)
    log.progress(20_000)
    log.say("resumed")
    log.train(step=2, images=40_000, scalars={"vae/loss": 0.125}, images_per_second=1000.0)
    log.close()
    text = capsys.readouterr().err
    assert "resumed\n" in text and "20%" in text and "40%" in text and "vae 0.125" in text


@pytest.mark.parametrize("size, fits", [((40, 120), True), ((0, 0), False)])
def test_a_bar_needs_a_terminal_with_a_size(size, fits):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, size)
    with os.fdopen(master), os.fdopen(slave, "w") as stream:
        assert logs._fits_a_bar(stream) == fits


def test_a_file_gets_no_bar(tmp_path):
    with (tmp_path / "err").open("w") as stream:
        assert not logs._fits_a_bar(stream)


def test_other_processes_write_nothing(tmp_path, capsys):
    log = logs.open_log(tmp_path / "w", 80, enabled=False)
    log.progress(8)
    log.say("hello")
    _line(log, 1)
    log.evaluate(step=1, images=8, scalars={"test/elbo": 0.0})
    log.picture(step=1, images=8, name="samples", image=np.zeros((4, 4, 3), np.uint8))
    log.close()
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


def test_a_workdir_whose_name_is_not_text_is_logged_in(tmp_path):
    folder = tmp_path / os.fsdecode(b"run \xff")
    log = logs.open_log(folder, 100)
    log.train(step=1, images=8, scalars={"vae/loss": 1.0}, images_per_second=None)
    log.picture(step=1, images=8, name="samples", image=np.zeros((4, 4, 3), np.uint8))
    log.say(f"{folder} is there")
    log.close()
    assert logs.read_metrics(folder / "metrics.jsonl")[0]["vae/loss"] == 1
    assert any((folder / "tensorboard").iterdir()) and any((folder / "pictures").iterdir())
