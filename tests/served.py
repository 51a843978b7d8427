"""Services in threads, with models that need no network and make a picture at once."""
import contextlib
import io
import queue
import threading

import jax
import numpy as np
import worded
from PIL import Image
from toys import upscaler

from imggen_jax.game import Field
from imggen_jax.model import Model
from imggen_jax.provenance import publishing
from imggen_jax.serving import running
from imggen_jax.serving.guards import Limits
from imggen_jax.serving.running import Wanted
from imggen_jax.spec import make_spec


def _larger():
    """An upscaler without training."""
    shape = Field((None, None, 3), "uint8")
    spec = make_spec(image=shape, source=shape)
    game = upscaler.make(spec)
    weights = game.init(jax.random.key(0), spec)[0]
    return Model({"train": {"batch": 1}}, spec, 1, weights, game, "main")


MODELS = {"words": worded.model(), "guided": worded.model(guided=True), "larger": _larger()}
LIMITS = Limits(body=400_000, pixels=10_000, upload=5.0)


@contextlib.contextmanager
def serving(credentials=False, **wanted):
    """A running service; its address. Without credentials, which take most of the time."""
    started: queue.Queue = queue.Queue()

    def run():
        try:
            with publishing.using(publishing.Settings(credentials=credentials)):
                running.serve(Wanted(**{"port": 0, "models": ",".join(MODELS), "limits": LIMITS, **wanted}),
                              lambda line: None, started=lambda server, port: started.put((server, port)),
                              load=MODELS.__getitem__)
        except BaseException as error:  # noqa: BLE001 - for the test to see
            started.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    found = started.get(timeout=60)
    if isinstance(found, BaseException):
        raise found
    try:
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        found[0].should_exit = True
        thread.join(60)


def file_of(pixels, kind="PNG"):
    """The file of uint8 [H,W] or [H,W,C]."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def pixels_of(content):
    """uint8 [H,W] or [H,W,C] of a file."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)
