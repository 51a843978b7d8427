"""SIGTERM and Ctrl-C: what was trained is saved within seconds, wherever the main thread is at that moment."""
from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from imggen_jax.errors import Interrupted

GRACE = 10  # seconds in which the main thread may return from compiled code; most platforms kill 30 after SIGTERM


class Stopped(BaseException):
    """Raised in the main thread inside of `interruptible`. Not an Exception, which libraries catch."""


class Signals:
    """Notes a signal instead of ending the process; a second one stops the run at once, unsaved.

    Python runs its handlers when the main thread comes back from compiled code, which may be minutes later. So a thread
    of its own reads the signals' numbers from a pipe, to which they are written at once (`signal.set_wakeup_fd`).

    What stops at once, raises an exception in the main thread as soon as that is back in Python: Interrupted for a
    first signal before anything was trained, KeyboardInterrupt for a second signal. The command line passes `leave`
    instead, since it should not wait for a compilation.

    Outside of the main thread, where Python does not allow handlers, signals are left alone.

    Attributes:
      received: the number of the first signal, 0 for none. The training loop reads it after each call.
      trained: False while nothing was trained that is not saved; then a first signal stops at once.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, leave: Callable[[int], object] | None = None):
        """leave: ends the process with an exit code, from any thread: `os._exit`. None where a library must not."""
        self.received, self.trained = 0, False
        self._leave_process = leave
        self._inside, self._rescue, self._handled = False, None, 0
        self._lock = threading.Lock()

    def __enter__(self):
        self._active = threading.current_thread() is threading.main_thread()  # no other can set handlers
        if self._active:
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._wakeup = signal.set_wakeup_fd(self._writer)
            self._handlers = {number: signal.signal(number, self._interrupt) for number in self.NUMBERS}
            threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, kind, error, traceback):
        if self._active:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._writer)  # ends the thread
        if kind is Stopped:
            raise Interrupted(self.received, _untrained(self.received)) from None

    @contextlib.contextmanager
    def interruptible(self, rescue: Callable[[], None]) -> Iterator[None]:
        """A block that may take long and can be abandoned: a signal raises Stopped in it.

        Args:
          rescue: saves everything; called from another thread if the block does not come back from compiled code within
            GRACE seconds. With `leave`, the process ends after it.
        """
        with self._lock:
            self._rescue = rescue
        try:
            self._inside = True
            if self.received:
                raise Stopped
            yield
        finally:
            self._inside = False
            with self._lock:  # waits for a rescue that has begun
                self._rescue = None

    def _interrupt(self, number: int, frame) -> None:
        del frame
        self.received, self._handled = self.received or number, self._handled + 1
        if self._inside:
            self._inside = False
            raise Stopped
        if self._leave_process is None:
            if self._handled > 1:
                raise KeyboardInterrupt("the last checkpoint is intact")
            if not self.trained:
                raise Stopped

    def _listen(self, reader: int) -> None:
        noted = False
        with open(reader, "rb", buffering=0) as numbers:
            while number := int.from_bytes(numbers.read(1)):
                if number not in self.NUMBERS:
                    continue
                if noted:  # whoever sends it does not wait for what is being saved, which is as safe as a kill
                    self._leave(128 + number, "Stopped at once; the last checkpoint is intact.")
                elif not self.trained:
                    self._leave(128 + number, _untrained(number))
                else:
                    print("\nStopping: saving first (again to stop at once) ...", file=sys.stderr, flush=True)
                    timer = threading.Timer(GRACE, self._save_from_here, (number,))
                    timer.daemon = True
                    timer.start()
                noted, self.received = True, self.received or number

    def _save_from_here(self, number: int) -> None:
        with self._lock:
            if self._rescue is None:
                return
            try:
                self._rescue()
            except Exception as error:  # noqa: BLE001 - the process ends here, or the main thread meets it too
                self._leave(1, f"error: {' '.join(str(error).split())}")
            else:
                self._leave(128 + number, f"Stopped by {signal.Signals(number).name}; everything is saved. The same "
                                          "command continues from there.")

    def _leave(self, code: int, line: str) -> None:
        """End the process where the command line allows it; elsewhere the main thread raises an exception."""
        if self._leave_process is not None:
            print(f"\n{line}", file=sys.stderr, flush=True)
            self._leave_process(code)


def _untrained(number: int) -> str:
    return (f"Stopped by {signal.Signals(number).name} before anything was trained that is not saved. The same command "
            "continues from there.")
