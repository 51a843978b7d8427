"""The verb `studio`: its flags, the address, and the first pictures."""
from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imggen_jax import flags, ports, streams
from imggen_jax.errors import RunError
from imggen_jax.storage import lock

STUDIO = """\
Opens a studio in the browser: create, edit, retouch, train on own pictures, check, browse. It runs on this computer and
nothing leaves it. Needs the `studio` extra: pip install "imggen_jax[studio]"

examples:
  imggen studio
  imggen studio --port 8000 --folder ~/art --no-browser
"""
FOLDER, HOST, PORT = "~/imggen_studio", "127.0.0.1", 7860
NEEDED = ("gradio", "fastapi", "uvicorn")
WELCOME = ("a smiling person with ginger hair and round glasses", "a surprised person with long pink hair",
           "a person with dark skin, curly hair and a beard")


def run(words: Sequence[str], main: Callable[[Sequence[str]], int]) -> int:
    """Serve the studio until it is interrupted; returns the exit code. main: runs the words of other commands."""
    parser = flags.Parser("studio", STUDIO)
    parser.add_argument("--folder", type=flags.path, default=FOLDER, metavar="D",
                        help=f"where pictures, datasets and trainings are kept; made if needed (default: {FOLDER})")
    parser.add_argument("--models", type=flags.path, action="append", default=[], metavar="D",
                        help="another folder of runs or exported models, beside ./runs; may be repeated")
    parser.add_argument("--port", type=int, default=PORT, metavar="P", help=f"(default: {PORT})")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--worker", action="store_true", help="answer a studio, which starts this by itself")
    args = parser.parse_args(words)
    if args.worker:
        from imggen_jax.studio import worker

        return worker.start(main)
    _check(args)
    from imggen_jax.studio.home import Home
    from imggen_jax.studio.jobs import Jobs

    with contextlib.closing(ports.listening(HOST, args.port)) as bound:
        home = Home(args.folder)
        with _alone(home.folder):
            jobs = Jobs(home)             # it loads while the pages are built
            if not home.index.count():
                _welcome(jobs)
            try:
                return _serve(home, jobs, [Path("runs").absolute(), *map(Path, args.models)], bound,
                              not args.no_browser)
            finally:
                jobs.close()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the studio's folder; raises RunError where another studio does."""
    try:
        with lock.exclusive(folder / lock.NAME):
            yield
    except lock.Locked as error:
        raise RunError(f"the folder {folder} is in use by another studio ({error.holder}); open that one in the "
                       "browser, or choose another --folder") from error


def _check(args) -> None:
    """Refuses what cannot work before anything is loaded."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise RunError(f"the studio needs {', '.join(missing)}: pip install \"imggen_jax[studio]\"")
    if set(",+") & set(str(Path(args.folder).expanduser().resolve())):
        raise RunError(f"the path {args.folder} has a comma or a plus, which lists of files cannot hold; choose "
                       "another --folder")
    for folder in args.models:
        if not Path(folder).is_dir():
            raise RunError(f"--models {folder} is not a folder")
    if not 1 <= args.port <= 65535:
        raise RunError(f"--port is {args.port}; it must be from 1 to 65535")


def _welcome(jobs) -> None:
    """The first pictures of a new studio, so that nobody meets an empty page."""
    from imggen_jax.studio import commands

    for number, prompt in enumerate(WELCOME):
        wanted = commands.Wanted(prompt, num=4, seed=7 * number + 1)
        jobs.start(commands.generate("avatars", True, wanted), expected=4)


def _is_no_end(record: logging.LogRecord) -> bool:
    """False of what uvicorn tells when it hangs up on open pages at the end, which is no error."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "graceful shutdown" not in record.getMessage()


def _serve(home, jobs, folders: Sequence[Path], bound: socket.socket, browser: bool) -> int:
    """bound: listens already, so that a browser that is there too early waits and is not refused."""
    import uvicorn

    from imggen_jax.studio import app  # here: it takes seconds
    from imggen_jax.studio.bench import Studio

    port = bound.getsockname()[1]
    served = app.serve(Studio(home, jobs, folders), HOST, port)
    address = f"http://{HOST}:{port}"
    server = uvicorn.Server(uvicorn.Config(served, log_level="warning", timeout_graceful_shutdown=2,
                                           server_header=False))

    def opened() -> None:
        while not server.started:
            time.sleep(0.05)
        streams.say([f"The studio is open: {address} (Ctrl+C ends it). Its folder: {home.folder}"])
        if browser:
            import webbrowser

            webbrowser.open(address)

    threading.Thread(target=opened, daemon=True).start()
    logging.getLogger("uvicorn.error").addFilter(_is_no_end)
    with contextlib.suppress(KeyboardInterrupt):      # uvicorn raises once more what has ended it
        server.run(sockets=[bound])
    streams.say(["The studio has ended. Trainings that it has begun go on."])
    return 0
