"""Standard streams: a reader that leaves, a stream that is closed, and characters that it cannot show."""
import os
import subprocess
import sys

import pytest
import shell

from imggen_jax import streams


def start(program: str, redirect: str = "", **variables: str) -> subprocess.CompletedProcess:
    words = ["bash", "-c", f'"$0" -c "$1" {redirect}', sys.executable, program]
    return subprocess.run(words, cwd=shell.REPOSITORY, capture_output=True, env=os.environ | variables)


def test_a_reader_that_left_is_reported_once(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(streams.ReaderGone):
            streams.say(["a", "b"])
        assert not streams.finish()
        streams.say(["c"])  # goes nowhere
        assert streams.finish()


def test_help_ends_quietly_when_its_reader_does():
    program = "import sys; sys.argv = ['imggen', 'train', '--help']; from imggen_jax.main import command; command()"
    done = start(program, "| head -1")
    assert (done.stdout[:20], done.stderr) == (b"usage: imggen train ", b"")


def test_a_child_that_dies_does_not_end_the_process():
    """SIGPIPE stays ignored: what a dead decoder is sent is an exception, and not the end."""
    program = ("import os, subprocess, sys; from imggen_jax import main\n"
               "def verb(words):\n"
               "    child = subprocess.Popen(['true'], stdin=subprocess.PIPE); child.wait()\n"
               "    try:\n"
               "        os.write(child.stdin.fileno(), b'x')\n"
               "    except BrokenPipeError:\n"
               "        print('listed')\n"
               "    return 0\n"
               "main._describe = verb; sys.argv = ['imggen', 'describe']; main.command()")
    done = start(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"listed\n", b"")


def test_characters_that_the_output_does_not_have_are_escaped():
    program = "from imggen_jax import streams; streams.prepare(); streams.say(['\\u00fc \\udce9'])"
    assert start(program, PYTHONIOENCODING="ascii").stdout == b"\\xfc \\udce9\n"
    assert start(program, PYTHONIOENCODING="utf-8").stdout == "\u00fc \\udce9\n".encode()


@pytest.mark.parametrize("redirect", ["2>&-", ">&- 2>&-", "2> >(true)"])
def test_messages_that_nobody_reads_end_nothing(redirect, tmp_path):
    program = (f"import sys, time; from imggen_jax import streams; streams.prepare(); time.sleep(0.2)\n"
               f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2\n"
               f"for _ in range(3): print('progress ' * 10_000, file=sys.stderr, flush=True)\n"
               f"file.write('done'); file.close(); sys.exit(0 if streams.finish() else 1)")
    done = start(program, redirect)
    assert done.returncode == 0 and (tmp_path / "file").read_text() == "done"
