"""Services in threads, with a model that needs no network and makes a picture at once."""
import contextlib
import queue
import threading

import httpx
import pytest
import worded

from imggen_jax.provenance import publishing
from imggen_jax.serving import running
from imggen_jax.serving.guards import Limits
from imggen_jax.serving.running import Wanted

MODELS = {"words": worded.model(), "guided": worded.model(guided=True)}
LIMITS = Limits(body=400_000, pixels=10_000, upload=5.0)


@contextlib.contextmanager
def serving(**wanted):
    """A running service; its address."""
    started: queue.Queue = queue.Queue()
    errors = []

    def run():
        try:
            with publishing.using(publishing.Settings(credentials=wanted.pop("credentials", False))):
                running.serve(Wanted(**{"port": 0, "models": "words,guided", "limits": LIMITS, **wanted}),
                              lambda line: None, started=lambda server, port: started.put((server, port)),
                              load=MODELS.__getitem__)
        except BaseException as error:  # noqa: BLE001 - for the test to see
            errors.append(error)
            started.put(None)

    thread = threading.Thread(target=run)
    thread.start()
    found = started.get(timeout=60)
    try:
        if found is None:
            raise errors[0]
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        if found is not None:
            found[0].should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def address():
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=60) as found:
        yield found
