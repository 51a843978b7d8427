"""Signals: noted by the loop, raised in what can be given up, and answered from another thread where nothing helps."""
import os
import signal
import subprocess
import sys

import pytest
import shell

from imggen_jax.errors import Interrupted
from imggen_jax.training import signals
from imggen_jax.training.signals import Signals, Stopped


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def never():
    pytest.fail("saved from another thread")


def test_a_signal_is_noted_and_the_work_goes_on():
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as noted:
        noted.trained = True
        send()
        assert noted.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_ends_what_can_be_given_up_and_nothing_else():
    done = []
    with Signals() as noted:
        noted.trained = True
        with pytest.raises(Stopped), noted.interruptible(never):
            done.append("begun")
            send()
            done.append("never")
        done.append("after")
        with pytest.raises(Stopped), noted.interruptible(never):
            done.append("never")  # nor is it begun once the signal has come
    assert done == ["begun", "after"]


def in_a_process(body, *, grace=signals.GRACE, leave="os._exit"):
    """Run lines under `Signals`. A hash stands for a compilation that nothing interrupts: minutes of it where the
    process should leave before its end, else seconds."""
    program = ("import atexit, hashlib, os, signal, threading, time\nfrom imggen_jax.training import signals\n"
               f"signals.GRACE = {grace}\natexit.register(print, 'atexit')\n"
               f"def compile(): hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2**{28 if leave else 22})\n"
               "def send(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.5)\n"
               f"with signals.Signals({leave}) as noted:\n" + "".join(f"    {line}\n" for line in body))
    return subprocess.run([sys.executable, "-c", program], cwd=shell.REPOSITORY, text=True, capture_output=True,
                          timeout=300)


def test_before_anything_is_trained_a_signal_leaves_at_once():
    done = in_a_process(["send()", "print('never')"])
    assert (done.returncode, done.stdout) == (143, "")
    assert "Stopped by SIGTERM before anything was trained that is not saved. The same command cont" in done.stderr


def test_what_does_not_come_back_from_compiled_code_is_saved_from_another_thread():
    done = in_a_process(["noted.trained = True", "with noted.interruptible(lambda: print('saved', flush=True)):",
                         "    threading.Timer(0.5, send).start(); compile()"], grace=1)
    assert (done.returncode, done.stdout) == (143, "saved\n")
    assert done.stderr.endswith("\nStopped by SIGTERM; everything is saved. The same command continues from there.\n")


def test_a_failure_of_that_is_reported():
    done = in_a_process(["def full(): raise OSError('no room')", "noted.trained = True",
                         "with noted.interruptible(full):",
                         "    threading.Timer(0.5, send).start(); compile()"], grace=1)
    assert done.returncode == 1 and done.stderr.endswith("\nerror: no room\n")


def test_a_second_signal_leaves_at_once_even_from_compiled_code():
    done = in_a_process(["noted.trained = True", "threading.Timer(0.5, lambda: (send(), send())).start()", "compile()"])
    assert (done.returncode, done.stdout) == (143, "")
    assert "Stopping: saving first" in done.stderr and "Stopped at once; the last checkpoint is" in done.stderr


# From Python: the process is never left, and what encloses the call runs.


def test_from_python_a_signal_before_anything_is_trained_raises():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="Stopped by SIGINT before anything was trained") as raised, Signals():
        send(signal.SIGINT)
        pytest.fail("goes on")
    assert raised.value.signal == signal.SIGINT and signal.getsignal(signal.SIGINT) is before


def test_from_python_a_second_signal_raises():
    with pytest.raises(KeyboardInterrupt, match="checkpoint is intact"), Signals() as noted:
        noted.trained = True
        send()
        noted.trained = "and goes on"
        send()
        pytest.fail("goes on")
    assert noted.trained == "and goes on"


def test_from_python_compiled_code_is_waited_for_and_the_process_goes_on():
    done = in_a_process(["threading.Timer(0.5, send).start()", "try: compile()", "finally: print('finally')"], leave="")
    assert done.returncode == 1 and done.stdout == "finally\natexit\n"
    assert done.stderr.splitlines()[-1].startswith("imggen_jax.errors.Interrupted: Stopped by SIGTERM before")


def test_from_python_what_does_not_come_back_is_saved_and_the_process_goes_on():
    done = in_a_process([
        "noted.trained = True", "try:", "    with noted.interruptible(lambda: print('saved', flush=True)):",
        "        threading.Timer(0.5, send).start(); compile()", "except signals.Stopped: print('stopped')"],
        grace=0.1, leave="")
    assert (done.returncode, done.stdout) == (0, "saved\nstopped\natexit\n"), done.stderr
