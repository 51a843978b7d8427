"""The queue, without models: what runs together, whose turn it is, and that one end does not touch another."""
import threading
import time

import pytest

from imggen_jax.serving import worker as workers
from imggen_jax.serving.worker import Canceled, Done, Failed, Full, Job, Late, Stopped, Worker


class Recorder:
    """Jobs that are held until they are let go, and what was run."""

    def __init__(self):
        self.groups, self.gate, self.begun = [], threading.Event(), threading.Semaphore(0)

    def run(self, tickets):
        self.groups.append([ticket.job.about for ticket in tickets])
        self.begun.release()
        while not self.gate.wait(0.005):
            for ticket in tickets:
                ticket.check()
        for ticket in tickets:
            ticket.done(ticket.job.about)

    def job(self, about, kind="a", rows=1):
        return Job(kind, rows, self.run, about)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def start(recorder):
    """(options) -> a worker that runs, whose first job is held."""
    running = []

    def make(**options):
        one = Worker(**options)
        running.append(one)
        one.start()
        held = submit(one, recorder.job("first", kind="first"), "nobody")
        assert recorder.begun.acquire(timeout=10)
        return one, held

    yield make
    recorder.gate.set()
    for one in running:
        one.stop()


def submit(one, job, owner="ann"):
    """A ticket, with the events that it told."""
    events = []
    ticket = one.submit(owner, job, events.append)
    ticket.events = events
    return ticket


def test_jobs_of_one_kind_run_together_up_to_the_bound_and_others_apart(start, recorder):
    one, _ = start(rows=4)
    tickets = [submit(one, recorder.job(name, kind, rows)) for name, kind, rows in (
        ("a1", "a", 2), ("b1", "b", 1), ("a2", "a", 1), ("a3", "a", 3), ("a4", "a", 1), ("c", None, 1), ("d", None, 1))]
    recorder.gate.set()
    assert all(ticket.wait(10) for ticket in tickets)
    assert recorder.groups == [["first"], ["a1", "a2", "a4"], ["b1"], ["a3"], ["c"], ["d"]]
    assert [ticket.events for ticket in tickets[:2]] == [[Done("a1")], [Done("b1")]]


def test_who_asks_for_little_does_not_wait_for_who_asks_for_much(start, recorder):
    one, _ = start(rows=2)
    greedy = [submit(one, recorder.job(f"ann {k}", rows=2), "ann") for k in range(6)]
    small = [submit(one, recorder.job(f"bob {k}", rows=2), "bob") for k in range(2)]
    recorder.gate.set()
    assert all(ticket.wait(10) for ticket in (*greedy, *small))
    order = [about for group in recorder.groups for about in group]
    assert order.index("bob 0") <= 3 and order.index("bob 1") <= 5


def test_a_batch_takes_from_everybody_in_turn(start, recorder):
    one, _ = start(rows=4)
    tickets = [submit(one, recorder.job(f"ann {k}"), "ann") for k in range(4)]
    tickets += [submit(one, recorder.job(f"{name} {k}"), name) for name in ("bob", "cleo") for k in range(2)]
    recorder.gate.set()
    assert all(ticket.wait(10) for ticket in tickets)
    assert {about.split()[0] for about in recorder.groups[1]} == {"ann", "bob", "cleo"}


def test_the_queue_is_bounded_and_says_when_to_come_back(start, recorder):
    one, _ = start(waiting=3, each=2)
    for _ in range(2):
        submit(one, recorder.job("ann"), "ann")
    with pytest.raises(Full) as caught:     # her part of the queue
        submit(one, recorder.job("ann"), "ann")
    assert 1 <= caught.value.seconds <= workers.LONGEST
    submit(one, recorder.job("bob"), "bob")
    with pytest.raises(Full):               # all of it
        submit(one, recorder.job("cleo"), "cleo")
    assert one.waiting == 3


def test_the_memory_of_what_waits_is_bounded(start, recorder):
    one, _ = start()
    submit(one, recorder.job("large")._replace(held=2 * workers.HELD))   # alone, anything may wait
    with pytest.raises(Full):
        submit(one, recorder.job("small")._replace(held=1))


def test_what_is_canceled_in_the_queue_frees_its_place_and_never_runs(start, recorder):
    one, _ = start(waiting=1)
    first = submit(one, recorder.job("unwanted"))
    first.cancel()
    second = submit(one, recorder.job("wanted"))
    recorder.gate.set()
    assert second.wait(10) and recorder.groups == [["first"], ["wanted"]] and first.events == []


def test_what_is_canceled_under_way_ends_at_a_boundary_and_the_next_is_unaffected(start, recorder):
    one, held = start()
    after = submit(one, recorder.job("after"))
    held.cancel()
    assert recorder.begun.acquire(timeout=10)            # "after" has begun, though nobody let the first one go
    recorder.gate.set()
    assert after.wait(10) and after.events == [Done("after")] and held.events == []


def test_one_of_a_batch_that_is_canceled_leaves_the_others(start):
    one, held = start()
    told = []

    def run(tickets):
        for ticket in tickets:
            if ticket.wanted:
                told.append(ticket.job.about)
                ticket.done(None)

    tickets = [submit(one, Job("b", 1, run, k)) for k in range(3)]
    tickets[1].cancel()
    held.cancel()
    assert tickets[0].wait(10) and tickets[2].wait(10) and told == [0, 2]


def test_an_error_is_told_to_its_owner_and_the_worker_goes_on(start, recorder):
    one, held = start()

    def fail(tickets):
        raise MemoryError("too large")

    bad, good = submit(one, Job(None, 1, fail)), submit(one, recorder.job("good"))
    held.cancel()
    recorder.gate.set()
    assert good.wait(10) and good.events == [Done("good")]
    assert isinstance(bad.events[0].error, MemoryError) and one.alive


def test_time_is_bounded_in_the_queue_and_under_way(start, recorder):
    one, held = start(seconds=0.05)
    waiting = submit(one, recorder.job("late"))
    assert held.wait(10) and isinstance(held.events[0], Failed) and isinstance(held.events[0].error, Late)
    assert waiting.wait(10) and isinstance(waiting.events[0].error, Late)
    assert recorder.groups == [["first"]]


def test_the_end_fails_what_waits_and_what_runs(start, recorder):
    one, held = start()
    waiting = submit(one, recorder.job("waiting"))
    one.stop()
    assert not one.alive
    assert all(isinstance(ticket.events[0].error, Stopped) for ticket in (held, waiting))
    with pytest.raises(Stopped):
        submit(one, recorder.job("too late"))


def test_a_ticket_tells_its_end_once(start, recorder):
    one, held = start()
    recorder.gate.set()
    assert held.wait(10)
    held.failed(ValueError())
    held.partial(1)
    assert held.events == [Done("first")] and not held.wanted
    with pytest.raises(Canceled):
        held.cancel()
        held.check()


def test_who_was_away_does_not_get_all_turns_at_once(start, recorder):
    one, _ = start(rows=1)
    tickets = [submit(one, recorder.job(f"ann {k}"), "ann") for k in range(3)]
    recorder.gate.set()
    assert tickets[0].wait(10)
    recorder.gate.clear()
    time.sleep(0.02)
    recorder.gate.set()
    assert all(ticket.wait(10) for ticket in tickets)
