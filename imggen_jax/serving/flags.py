"""The command `imggen serve`. Nothing heavy is imported before it runs."""
from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from imggen_jax import flags, streams
from imggen_jax.errors import RunError
from imggen_jax.flags import trust

DESCRIPTION = """\
Serves models of this computer to programs that speak OpenAI's Images API: base_url http://127.0.0.1:8000/v1. Without
--models, those that ship. Needs imggen_jax[studio].

examples:
  imggen serve
  imggen serve --models avatars,faces=runs/faces --port 8080
  imggen serve --add-key alice --quota 500                   # prints a key, once
  imggen serve --host 0.0.0.0 --allow-host pictures.example.org
"""
NEEDED = ("fastapi", "uvicorn", "multipart")


def serve(words: Sequence[str], start: Callable[[], None]) -> int:
    """Run the verb; returns the exit code. start: lets JAX start."""
    parser = flags.Parser("serve", DESCRIPTION)
    parser.add_argument("--host", default="127.0.0.1", metavar="H",
                        help="address to listen at; others than this computer's own need keys (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="(default: 8000; 0: any that is free)")
    parser.add_argument("--models", metavar="A,B", help="what --model of other verbs takes, or ID=M; the first one is "
                        "used where none is asked for (default: those that ship)")
    parser.add_argument("--memory", type=float, metavar="GB",
                        help="of all weights that are loaded at a time; the least used leave (default: no bound)")
    parser.add_argument("--queue", type=int, default=128, metavar="N",
                        help="requests that may wait; further ones are told to come back (default: 128)")
    parser.add_argument("--seconds", type=float, default=600, metavar="S",
                        help="a request may take, waiting included (default: 600)")
    parser.add_argument("--keys", type=flags.path, metavar="FILE",
                        help="ask for keys of this file (default: service_keys.json beside the key that pictures are "
                             "signed with; on this computer alone, no keys)")
    parser.add_argument("--add-key", metavar="NAME", help="make a key, print it, and do nothing else")
    parser.add_argument("--quota", type=int, metavar="N", help="with --add-key: pictures a day (default: no bound)")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME",
                        help="a further name by which the service is called; may be repeated")
    trust.add(parser)
    args = parser.parse_args(words)
    if args.quota is not None and args.add_key is None:
        parser.error("--quota goes with --add-key")
    if args.add_key is not None:
        from imggen_jax.serving import keys

        file = keys.default_file() if args.keys is None else Path(args.keys)
        streams.say([keys.add(file, args.add_key, args.quota)])
        print(f"note: {file} keeps a hash of it; nobody can look it up again", file=sys.stderr)
        return 0
    if not 0 <= args.port < 65536:
        parser.error(f"--port is {args.port}; it must be from 0 to 65535")
    if args.queue < 1:
        parser.error(f"--queue is {args.queue}; it must be at least 1")
    if not args.seconds > 0:
        parser.error(f"--seconds is {args.seconds}; it must be above 0")
    if args.memory is not None and not args.memory > 0:
        parser.error(f"--memory is {args.memory}; it must be above 0")
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise RunError(f"the service needs {missing[0]}, which is not installed: pip install 'imggen_jax[studio]'")
    with trust.using(args):
        start()
        from imggen_jax.serving import running

        running.serve(running.Wanted(args.host, args.port, args.models, args.keys, args.allow_host,
                                     None if args.memory is None else args.memory * 1e9, args.queue, args.seconds),
                      lambda line: streams.say([line]))
    streams.say(["Stopped."])
    return 0
