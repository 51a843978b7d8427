"""One thread that makes pictures: a bounded queue, fair between owners, that runs jobs of one kind together.

    worker = Worker()
    worker.start()
    ticket = worker.submit("alice", Job(kind, rows, run, about), listen=print)    # Done(...) or Failed(...), at the end
    ticket.cancel()                                                                # at the next boundary of steps

Nothing here knows HTTP or models. `listen` is called from the worker's thread.
"""
from __future__ import annotations

import collections
import contextvars
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from imggen_jax.errors import ImggenError

WAITING = 128        # jobs in the queue
ROWS = 64            # pictures that are made together
HELD = 10**9         # bytes that jobs in the queue hold
SECONDS = 600.0      # from the submission of a job to its end
LONGEST = 60         # seconds that `Full` asks to wait, at most
_MEMORY = 0.8        # share of the old in the running mean of seconds a picture
_FIRST = 0.5         # seconds a picture, before one was made


class Full(ImggenError):
    """The queue is full; `seconds` is when a place may be free."""

    def __init__(self, seconds: int):
        super().__init__(f"too many requests are waiting; ask again in {seconds} s")
        self.seconds = seconds


class Late(ImggenError):
    """A job did not end in its time."""


class Stopped(ImggenError):
    """The worker ended before the job did."""


class Canceled(Exception):
    """Raised by `Ticket.check` inside of a job, whose owner does not want it any more."""


class Job(NamedTuple):
    """What is to be done."""

    kind: Hashable                                   # jobs of equal kind may be run together; None: alone
    rows: int                                        # pictures that it asks for
    run: Callable[[Sequence[Ticket]], None]          # of tickets of one kind; each is told `Done` or `Failed`
    about: Any = None                                # what `run` reads
    held: int = 0                                    # bytes of memory that wait with it


class Partial(NamedTuple):
    """A job is under way, and this is what it has so far."""

    value: Any


class Done(NamedTuple):
    """A job has ended."""

    value: Any


class Failed(NamedTuple):
    """A job has ended with an error."""

    error: BaseException


Event = Partial | Done | Failed


class Ticket:
    """A job in the queue, or under way."""

    def __init__(self, owner: str, job: Job, listen: Callable[[Event], object], deadline: float):
        self.owner, self.job = owner, job
        self._listen, self._deadline = listen, deadline
        self._canceled = threading.Event()
        self._ended = threading.Event()

    def cancel(self) -> None:
        """It is not wanted any more: it leaves the queue, or ends at the next boundary. Others are not affected."""
        self._canceled.set()

    @property
    def wanted(self) -> bool:
        """Whether there is still something to do for it."""
        return not self._canceled.is_set() and not self._ended.is_set()

    def check(self, *_: object) -> None:
        """To be called at boundaries, also as a callback of progress.

        Raises:
          Canceled: it is not wanted any more.
          Late: its time is over.
        """
        if self._canceled.is_set():
            raise Canceled
        if time.monotonic() > self._deadline:
            raise Late("the request took longer than its time; ask for fewer or smaller pictures")

    def partial(self, value: Any) -> None:
        """Tell what there is so far."""
        if self.wanted:
            self._listen(Partial(value))

    def done(self, value: Any) -> None:
        """It has ended."""
        self._end(Done(value))

    def failed(self, error: BaseException) -> None:
        """It has ended with an error."""
        self._end(Failed(error))

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended within some seconds."""
        return self._ended.wait(seconds)

    def _end(self, event: Event) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._listen(event)


class Worker:
    """The thread and its queue."""

    def __init__(self, *, waiting: int = WAITING, each: int | None = None, rows: int = ROWS, seconds: float = SECONDS):
        """waiting: jobs in the queue; each: of one owner; rows: pictures made together; seconds: of a job, at most."""
        self._most, self._each, self._rows, self._seconds = waiting, each or waiting, rows, seconds
        self._queues: collections.OrderedDict[str, collections.deque[Ticket]] = collections.OrderedDict()
        self._used: dict[str, float] = {}        # owner -> seconds of the worker; of those in the queue
        self._running: Sequence[Ticket] = ()
        self._changed = threading.Condition()
        self._stopping = False
        self._pace = _FIRST
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work, in a copy of the caller's context: its settings of how pictures are published hold."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="imggen worker", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End after the next boundary: jobs that wait, or are under way, fail with `Stopped`."""
        with self._changed:
            self._stopping = True
            left = [ticket for queue in self._queues.values() for ticket in queue]
            left += self._running
            self._queues.clear()
            self._changed.notify_all()
        for ticket in left:
            ticket.failed(Stopped("the service is stopping"))
            ticket.cancel()
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether jobs are worked on."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        with self._changed:
            return sum(len(queue) for queue in self._queues.values())

    def submit(self, owner: str, job: Job, listen: Callable[[Event], object]) -> Ticket:
        """Put a job into the queue.

        Args:
          owner: whose turn it takes.
          job: what is to be done.
          listen: is called with each event, from the worker's thread; the last one is `Done` or `Failed`, unless the
            ticket is canceled before.

        Raises:
          Full: the queue, or the owner's part of it, is full.
          Stopped: the worker has ended.
        """
        ticket = Ticket(owner, job, listen, time.monotonic() + self._seconds)
        with self._changed:
            if self._stopping:
                raise Stopped("the service is stopping")
            self._drop_unwanted()
            waiting = [each for queue in self._queues.values() for each in queue]
            held = sum(each.job.held for each in waiting) + job.held
            if (len(waiting) >= self._most or len(self._queues.get(owner, ())) >= self._each
                    or waiting and held > HELD):
                seconds = math.ceil(self._pace * sum(each.job.rows for each in (*waiting, *self._running)))
                raise Full(min(max(seconds, 1), LONGEST))
            if owner not in self._queues:        # who was away has no claim to the time that others used meanwhile
                least = min((self._used[each] for each in self._queues), default=0.0)
                self._used[owner] = max(self._used.get(owner, 0.0), least)
                self._queues[owner] = collections.deque()
            self._queues[owner].append(ticket)
            self._changed.notify_all()
        return ticket

    def _work(self) -> None:
        while (group := self._next()) is not None:
            begun = time.monotonic()
            try:
                group[0].job.run(group)
                for ticket in group:             # `run` ends every ticket, but one that nobody wants
                    ticket.failed(Stopped("the request was canceled"))
            except Canceled:
                pass
            except BaseException as error:  # noqa: BLE001 - the queue outlives any job; its owner is told
                for ticket in group:
                    ticket.failed(error)
            self._account(group, time.monotonic() - begun)

    def _next(self) -> list[Ticket] | None:
        """The tickets that are run next, of one kind; None at the end."""
        with self._changed:
            while True:
                self._drop_unwanted()
                if self._stopping:
                    return None
                if self._queues:
                    break
                self._changed.wait()
            order = sorted(self._queues, key=lambda owner: self._used[owner])
            first = self._queues[order[0]].popleft()
            group, rows = [first], first.job.rows
            taking = first.job.kind is not None
            while taking:                        # one of each owner in turn, those who used least first
                taking = False
                for owner in order:
                    found = next((each for each in self._queues[owner] if each.job.kind == first.job.kind
                                  and rows + each.job.rows <= self._rows), None)
                    if found is not None:
                        self._queues[owner].remove(found)
                        group.append(found)
                        rows, taking = rows + found.job.rows, True
            self._running = group
            return group

    def _drop_unwanted(self) -> None:
        """Takes what was canceled, or waited too long, out of the queue, and owners who have nothing left in it."""
        for owner, queue in list(self._queues.items()):
            for ticket in list(queue):
                try:
                    ticket.check()
                except Canceled:
                    queue.remove(ticket)
                except Late as error:
                    queue.remove(ticket)
                    ticket.failed(error)
            if not queue:
                del self._queues[owner]

    def _account(self, group: Sequence[Ticket], seconds: float) -> None:
        rows = sum(ticket.job.rows for ticket in group)
        with self._changed:
            self._running = ()
            self._pace = _MEMORY * self._pace + (1 - _MEMORY) * seconds / rows
            for ticket in group:
                self._used[ticket.owner] = self._used.get(ticket.owner, 0.0) + seconds * ticket.job.rows / rows
            if not self._queues:                 # everybody was served: nobody owes anything
                self._used.clear()
