"""Signals: noted by the loop, raised in what can be given up, and answered from another thread where nothing helps."""
import os
import signal
import subprocess
import sys

import pytest
import shell

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


def in_a_process(body, *, grace=signals.GRACE):
    """Run lines under `Signals`, in which 2**28 rounds of a hash stand for a compilation that nothing interrupts."""
    program = ("import hashlib, os, signal, time\nfrom imggen_jax.training import signals\n"
               f"signals.GRACE = {grace}\n"
               "def compile(): hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2**28)\n"
               "def send(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.5)\n"
               "with signals.Signals() as noted:\n" + "".join(f"    {line}\n" for line in body))
    return subprocess.run([sys.executable, "-c", program], cwd=shell.REPOSITORY, text=True, capture_output=True,
                          timeout=300)


def test_before_anything_is_trained_a_signal_leaves_at_once():
    done = in_a_process(["send()", "print('never')"])
    assert (done.returncode, done.stdout) == (143, "")
    assert "Stopped by SIGTERM before anything was trained that is not saved. The same command goes on" in done.stderr


def test_what_does_not_come_back_from_compiled_code_is_saved_from_another_thread():
    done = in_a_process(["noted.trained = True", "with noted.interruptible(lambda: print('saved', flush=True)):",
                         "    import threading", "    threading.Timer(0.5, send).start(); compile()"], grace=1)
    assert (done.returncode, done.stdout) == (143, "saved\n")
    assert done.stderr.split("\n")[-2] == "Stopped by SIGTERM; all is saved. The same command goes on from here."


def test_a_failure_of_that_is_told():
    done = in_a_process(["def full(): raise OSError('no room')", "noted.trained = True",
                         "with noted.interruptible(full):",
                         "    import threading", "    threading.Timer(0.5, send).start(); compile()"], grace=1)
    assert done.returncode == 1 and done.stderr.endswith("\nerror: no room\n")
