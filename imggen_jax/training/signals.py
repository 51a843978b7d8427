"""SIGTERM and Ctrl-C: what was trained is saved within seconds, wherever the main thread is at that moment."""
from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

GRACE = 10  # seconds that the main thread has to come back from compiled code; platforms as a rule kill after 30


class Stopped(BaseException):
    """Raised in the main thread inside of `interruptible`. Not an Exception, which libraries catch."""


class Signals:
    """Notes a signal instead of dying of it; a second one leaves at once.

    Python runs its handlers when the main thread comes back from compiled code, which may be minutes later. So a thread
    of its own reads the signals' numbers from a pipe, to which they are written at once (`signal.set_wakeup_fd`).

    Attributes:
      received: the number of the first signal, 0 for none. The loop looks at it after each call.
      trained: False as long as nothing was trained that is not saved; then a signal leaves at once, be it from the
        midst of a compilation.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received, self.trained = 0, False
        self._inside, self._rescue = False, None
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

    def __exit__(self, *exception):
        if self._active:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._writer)  # ends the thread

    @contextlib.contextmanager
    def interruptible(self, rescue: Callable[[], None]) -> Iterator[None]:
        """A block that may take long and can be given up: a signal raises Stopped in it.

        Args:
          rescue: saves all; called from another thread if the block does not come back from compiled code within GRACE
            seconds, and the process ends after it.
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
            with self._lock:  # waits for a rescue that has begun, which does not return
                self._rescue = None

    def _interrupt(self, number: int, frame) -> None:
        del frame
        self.received = self.received or number
        if self._inside:
            self._inside = False
            raise Stopped

    def _listen(self, reader: int) -> None:
        noted = False
        with open(reader, "rb", buffering=0) as numbers:
            while number := int.from_bytes(numbers.read(1)):
                if number not in self.NUMBERS:
                    continue
                name = signal.Signals(number).name
                if noted:  # no one waits for what is being saved: that is as safe as a kill
                    self._leave(number, "Left at once; the last checkpoint is intact.")
                if not self.trained:
                    self._leave(number, f"Stopped by {name} before anything was trained that is not saved. The same "
                                        "command goes on from there.")
                noted, self.received = True, number
                print("\nStopping: saving first (again to leave at once) ...", file=sys.stderr, flush=True)
                timer = threading.Timer(GRACE, self._save_from_here, (number,))
                timer.daemon = True
                timer.start()

    def _save_from_here(self, number: int) -> None:
        with self._lock:
            if self._rescue is None:
                return
            try:
                self._rescue()
            except Exception as error:  # noqa: BLE001 - the process ends here, whatever it is
                self._leave(1, f"error: {' '.join(str(error).split())}", code=1)
            self._leave(number, f"Stopped by {signal.Signals(number).name}; all is saved. The same command goes on "
                                "from here.")

    @staticmethod
    def _leave(number: int, line: str, code: int | None = None) -> None:
        print(f"\n{line}", file=sys.stderr, flush=True)
        os._exit(128 + number if code is None else code)
