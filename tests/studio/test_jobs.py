"""Commands beside the studio: progress, cancel, a worker that dies, and what is told."""
import io
import json
import time
from types import SimpleNamespace

import pytest

from imggen_jax.errors import RunError
from imggen_jax.studio import worker

GENERATE = ["generate", "--model", "avatars", "--num"]


def finished(job, seconds=60):
    assert job.done.wait(seconds), "still running"
    return job


def test_a_command_makes_pictures_that_are_found_again(studio):
    job = finished(studio.jobs.start([*GENERATE, "3", "--prompt", "a face"], expected=3, parents=["ab" * 8]))
    assert job.code == 0 and not job.error and job.share == 1
    assert [one.prompt for one in job.pictures] == 3 * ["a face"] and [one.seed for one in job.pictures] == [0, 1, 2]
    assert studio.home.index.find() == job.pictures
    assert job.words[-2:] == ("--out", str(job.folder)) and job.pictures[0].command == job.words
    assert studio.jobs.start([*GENERATE, "3"], expected=3).seconds == pytest.approx(job.took, rel=0.5)


def test_what_is_wrong_is_told(studio):
    job = finished(studio.jobs.start([*GENERATE, "1", "--prompt", "impossible"]))
    assert job.code == 2 and job.error == "this cannot be; ask for something else" and not job.pictures


def test_cancel_ends_a_command_within_a_second_and_keeps_what_is_whole(studio):
    job = studio.jobs.start([*GENERATE, "100", "--prompt", "slowly"], expected=100)
    while job.written() < 2:
        time.sleep(0.05)
    assert 0 < job.progress() < 0.2
    studio.jobs.cancel(job)                    # returns when it is settled
    assert job.done.is_set() and job.canceled and job.code == 130 and not job.error
    assert 2 <= len(job.pictures) < 100 and studio.home.index.find() == job.pictures
    assert finished(studio.jobs.start([*GENERATE, "1"])).code == 0     # the next one is unaffected


def test_what_waits_is_canceled_without_being_begun(studio):
    first = studio.jobs.start([*GENERATE, "100", "--prompt", "slowly"], expected=100)
    second = studio.jobs.start([*GENERATE, "1"])
    studio.jobs.cancel(second)
    studio.jobs.cancel(first)
    assert finished(second).code == 130 and not second.folder.exists()


def test_a_worker_that_dies_is_replaced(studio):
    job = finished(studio.jobs.start([*GENERATE, "1", "--prompt", "fatal"]))
    assert job.code == 1 and "has ended (with code 9)" in job.error and "nothing finished is lost" in job.error
    assert finished(studio.jobs.start([*GENERATE, "1"])).code == 0
    assert studio.jobs.ask("facts", model="avatars")["mixes"]


def answers(answer, *questions):
    out = io.StringIO()
    worker.serve(answer, [json.dumps(question) for question in questions], out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_worker_goes_on_after_a_fault(capsys):
    def answer(question, say):
        if question["do"] == "stop":
            raise KeyboardInterrupt
        if question["do"] == "refuse":
            raise RunError("no such model")
        return {"is": 1 / question["number"]}

    said = answers(answer, {"do": "a", "number": 0}, {"do": "refuse"}, {"do": "stop"}, {"do": "a", "number": 2})
    assert "ZeroDivisionError" in said[0]["error"] and "ZeroDivisionError" in capsys.readouterr().err
    assert said[1:] == [{"error": "no such model"}, {"code": 130, "said": [], "made": []}, {"is": 0.5}]


def test_the_worker_tells_what_a_command_prints():
    import sys

    from tqdm import tqdm

    def main(words):
        print("a line", *words)
        print("note: beside", file=sys.stderr)
        with tqdm(total=100, disable=None, bar_format="{desc} {bar} {percentage:3.0f}%, {remaining} left",
                  mininterval=0, leave=False) as bar:
            bar.update(40)
            bar.update(60)
        return 0

    told = []
    assert worker.ran(main, ["x"], lambda **one: told.append(one)) == (0, ["a line x"])
    assert {"note": "note: beside"} in told and {"share": 0.4} in told and {"share": 1.0} in told
    assert [one for one in told if "note" in one] == [{"note": "note: beside"}]      # no bar among the notes


def test_a_flag_that_is_unknown_is_an_exit_code():
    def main(words):
        raise SystemExit(2)

    assert worker.ran(main, [], lambda **one: None) == (2, [])


def test_records_say_prompt_and_seed(tmp_path, monkeypatch):
    from imggen_jax.provenance import publishing

    (tmp_path / "a.png").write_bytes(b"")
    record = SimpleNamespace(verb="vary", given={"text": ["a face", 0.5, "a hat", 0.5]}, arguments={"seed": 4})
    monkeypatch.setattr(publishing, "read", lambda path: SimpleNamespace(record=record))
    (found,) = worker.made(str(tmp_path))
    assert found["verb"] == "vary" and found["seed"] == 4 and "a face" in found["prompt"]
    assert worker.made(None) == []
