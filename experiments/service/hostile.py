"""Hostile requests against a running service: each must be refused with a status from 400 to 499, and nothing else.

    python experiments/service/hostile.py http://127.0.0.1:8000 --num 2000

The requests follow from their number alone: mutated JSON, forms, pictures, headers and paths, as bytes on a socket.
"""
from __future__ import annotations

import argparse
import collections
import functools
import io
import json
import pickle
import random
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

PATHS = ("/v1/images/edits", "/v1/images/variations", "/v1/upscale", "/v1/remove", "/v1/stylize", "/v1/detect",
         "/v1/verify")
JSON = "application/json"
# Values that no field takes, and for some fields what they do not take.
WRONG = ([], {}, [1, 2], {"a": {"b": []}}, "\x00" * 20_000, [None], 1e308)
FIELDS = {
    "n": (0, -1, 11, 10**9, 1.5, "many", float("inf")), "seed": (-1, 2**32, 10**40, 0.5, "seed", float("nan")),
    "size": ("0x0", "99999x99999", "1024x1024", "../../x", "64x", "64x64\n", "٣x٣", "-1x-1"),
    "model": ("../../../etc/passwd", "/etc/passwd", "words/../words", "http://example.org/m", "\x00", "gpt-image-1",
              "file:///etc", "a" * 300, "..", ""),
    "prompt": ("", "a" * 2001, "{a, b", "::", "{" * 500, "\ud800", "a::0", "--size 3", "{a,b}",
               "{}" * 40, "a::2::3::4"),
    "quality": ("best", "ultra", 7), "output_format": ("svg", "gif", "html", "../png", "tiff"),
    "output_compression": (-1, 101, "all"), "response_format": ("html", "file"), "stream": ("maybe", 7),
    "partial_images": (-1, 4, "three"), "background": ("transparent", "url(http://example.org)"),
    "image": ("http://example.org/a.png", "file:///etc/passwd", "data:image/svg+xml,<svg/>"),
    "workdir": ("/etc",), "__class__": ("x",), "moderation": ("off",), "style": ("vivid",)}


class Hostile(NamedTuple):
    """One request."""

    name: str
    raw: bytes
    may_close: bool = False  # whether the connection may end without an answer: no answer is owed to half a request


def requests(host: str, number: int, begin: int = 0) -> Iterator[Hostile]:
    """Requests begin, begin + 1, ...; host: for the Host header."""
    kinds: list[Callable[[random.Random, str], Hostile]] = [
        _field, _field, _json, _form, _picture, _picture, _source, _header, _path]
    for k in range(begin, begin + number):
        yield kinds[k % len(kinds)](random.Random(k), host)


def _request(host: str, path: str, body: bytes = b"", kind: str | None = JSON, method: str = "POST",
             more: tuple[str, ...] = (), length: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *more,
             f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def _field(draw: random.Random, host: str) -> Hostile:
    name = draw.choice(sorted(FIELDS))
    value = draw.choice((*FIELDS[name], *WRONG))
    said = {"prompt": "a person", name: value}
    return Hostile(f"field {name}={value!r:.30}", _request(host, "/v1/images/generations", json.dumps(said).encode()))


def _json(draw: random.Random, host: str) -> Hostile:
    whole = json.dumps({"prompt": "a smiling person", "n": 1}).encode()
    mutated = {
        "cut off": whole[:draw.randrange(len(whole))], "deep": b"[" * 50_000,
        "long": b" " * 300_000, "deep object": b'{"prompt":' * 20_000,
        "no object": draw.choice([b"null", b"3", b'"a"', b"[]", b"true"]), "empty": b"",
        "not UTF-8": b'{"prompt": "\xff\xfe"}', "noise": draw.randbytes(300),
        "pickle": pickle.dumps({"prompt": "a"}), "long number": b'{"prompt": "a", "n": ' + b"9" * 6000 + b"}",
        "unknown": json.dumps({"prompt": "a", f"x{draw.random()}": 1}).encode(),
        "half a character": json.dumps({"prompt": "a", "\ud800": "\ud800"}).encode(), "two": whole + whole,
        "comment": b"/* */" + whole}
    name = draw.choice(sorted(mutated))
    return Hostile(f"json {name}", _request(host, "/v1/images/generations", mutated[name]))


def _parts(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    return b"".join(f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body + b"\r\n"
                    for head, body in parts) + f"--{boundary}--\r\n".encode()


def _form(draw: random.Random, host: str) -> Hostile:
    path, picture = draw.choice(PATHS), png(8, 8)
    names = ['name="image"; filename="../../../../tmp/x.png"', 'name="image"; filename="a\\..\\b.png"',
             'name="image"; filename="/etc/cron.d/x"', 'name="image"; filename=""']
    good = (draw.choice(names), picture)
    wrong = ('name="nothing"', b"1")
    forms = {
        "too many fields": _parts("b", *[(f'name="f{k}"', b"1") for k in range(200)]),
        "too many files": _parts("b", *[(f'name="image"; filename="{k}"', picture) for k in range(20)]),
        "twice": _parts("b", good, good), "text for a file": _parts("b", ('name="image"', b"http://example.org/a.png")),
        "traversal in a name": _parts("b", good, ('name="../../mask"; filename="m"', picture)),
        "unknown field": _parts("b", good, wrong), "long field": _parts("b", good, ('name="user"', b"a" * 100_000)),
        "cut off": _parts("b", good, wrong)[:-draw.randrange(20, 120)], "empty": b"", "noise": draw.randbytes(500),
        "no name": _parts("b", ("", b"x"), wrong), "header noise": b"--b\r\n" + draw.randbytes(60) + b"\r\n\r\nx",
        "endless header": b"--b\r\nX: " + b"a" * 30_000}
    name = draw.choice(sorted(forms))
    kind = draw.choice(["multipart/form-data; boundary=b"] * 6 + [
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b", "text/plain"])
    return Hostile(f"form {name}", _request(host, path, forms[name], kind))


@functools.cache
def png(width: int, height: int) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "PNG")
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@functools.cache
def _bomb(width: int, height: int, rows: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(rows * (1 + 3 * min(width, 4000))), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


@functools.cache
def _much(kind: bytes, head: bytes) -> bytes:
    """A picture with a chunk that is small, and 20 MB when it is unpacked."""
    whole = png(16, 16)
    return whole[:33] + _chunk(kind, head + zlib.compress(bytes(20_000_000), 9)) + whole[33:]


def _picture(draw: random.Random, host: str) -> Hostile:
    whole, flipped = png(16, 16), bytearray(png(16, 16))
    for _ in range(draw.randrange(1, 8)):
        flipped[draw.randrange(len(flipped))] = draw.randrange(256)
    gif = io.BytesIO()
    Image.new("P", (8, 8)).save(gif, "GIF")
    end = _chunk(b"IEND", b"")
    pictures = {
        "bomb": _bomb(60_000, 60_000, 10), "wide bomb": _bomb(2**31 - 1, 1, 1), "zero": _bomb(0, 0, 0),
        "rows of nothing": _bomb(3000, 3000, 3000), "text bomb": _much(b"zTXt", b"a\0\0"),
        "profile bomb": _much(b"iCCP", b"a\0\0"),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<html><img src=x onerror=alert(1)>", "pickle": pickle.dumps(print), "gif": gif.getvalue(),
        "zip": b"PK\x03\x04" + draw.randbytes(100), "empty": b"", "noise": draw.randbytes(400),
        "cut off": whole[:draw.randrange(8, len(whole))], "flipped": bytes(flipped),
        "no pixels": whole[:33] + end, "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "webp noise": b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8 " + draw.randbytes(100),
        "jpeg noise": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + draw.randbytes(200), "tiff": b"II*\0" + draw.randbytes(60)}
    name = draw.choice(sorted(pictures))
    # A picture that can be read after all is refused for the field that there is not.
    parts = [('name="image"; filename="a.png"', pictures[name]), ('name="nothing"', b"1")]
    return Hostile(f"picture {name}", _request(host, draw.choice(PATHS), _parts("b", *parts),
                                               "multipart/form-data; boundary=b"))


def _source(draw: random.Random, host: str) -> Hostile:
    body = json.dumps({"prompt": "a smiling person"}).encode()
    others = draw.choice(["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", "169.254.1.1",
                          "127.0.0.1@evil.example", "", "evil.example:8000", "0.0.0.0", "[", "a" * 300])
    origins = draw.choice(["http://evil.example", "null", "http://localhost.evil.example", "file://",
                           f"http://{host}.evil.example", "http://127.0.0.1:1", "chrome-extension://x"])
    asked = {
        "host": _request(others, "/v1/images/generations", body),
        "origin": _request(host, "/v1/images/generations", body, more=(f"Origin: {origins}",)),
        "origin of a look": _request(host, "/v1/models", method="GET", more=(f"Origin: {origins}",)),
        "cross-site": _request(host, "/v1/models", method="GET", more=("Sec-Fetch-Site: cross-site",)),
        "same-site": _request(host, "/metrics", method="GET", more=("Sec-Fetch-Site: same-site",)),
        "plain text": _request(host, "/v1/images/generations", body, "text/plain"),
        "a page's form": _request(host, "/v1/images/generations", b"prompt=a", "application/x-www-form-urlencoded"),
        "no type": _request(host, "/v1/images/generations", body, None)}
    name = draw.choice(sorted(asked))
    return Hostile(f"source {name}", asked[name])


def _header(draw: random.Random, host: str) -> Hostile:
    body, path = b'{"prompt": "a"}', "/v1/images/generations"
    asked = {
        "negative length": _request(host, path, body, length="-5"), "no length": _request(host, path, body, length="x"),
        "too long": _request(host, path, body, length=str(10**draw.choice([9, 14, 20]))),
        "two lengths": _request(host, path, body, more=("Content-Length: 3",)),
        "two hosts": _request(host, path, body, more=("Host: evil.example",)),
        "length and chunks": _request(host, path, b"zz\r\n", more=("Transfer-Encoding: chunked",)),
        "unknown coding": _request(host, path, body, more=("Transfer-Encoding: gzip",)),
        "control characters": _request(host, path, body, more=("X: a\x00b",)),
        "no colon": _request(host, path, body, more=("nothing",)),
        "huge header": _request(host, path, body, more=("X: " + "a" * 200_000,)),
        "folded": _request(host, path, body, more=("X: a", " b"), length="x"),
        "no HTTP": draw.randbytes(80).replace(b"\n", b"") + b"\r\n\r\n", "HTTP/3": b"GET / HTTP/3.0\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(50) + b"\r\n\r\n",
        "huge line": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"}
    name = draw.choice(sorted(asked))
    return Hostile(f"header {name}", asked[name], may_close=True)


def _path(draw: random.Random, host: str) -> Hostile:
    path = draw.choice([
        "/v1/images/files/../../../etc/passwd", "/v1/images/files/..%2f..%2fetc%2fpasswd", "/v1/images/files/%00",
        "/v1/images/files/" + "A" * 32, "/v1/images/files/" + "a" * 5000, "/v1/models/..%2f..%2fx", "/v1/models/%ff",
        "/v1/models/" + "b" * 3000, "/etc/passwd", "//etc/passwd", "/v1/images/files/lock", "/static/../keys",
        "/v1/images/files/kept_x", "/openapi.json/..", "/.env", "/v1/files", "/wp-admin/setup.php",
        "/v1/images/generations", "/v1/images/edits", "/v1/upscale", "/v1/images/files/C:%5Cwindows"])
    method = draw.choice(["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "FOO"])
    if path.startswith(("/openapi.json", "/v1/models/")):
        method = "GET"
    return Hostile(f"path {method} {path[:40]}", _request(host, path, method=method, kind=None))


def send(address: str, one: Hostile, seconds: float = 120.0) -> tuple[int | None, bytes]:
    """(status, answer); None where the connection ended without one."""
    split = urlsplit(address)
    answer = b""
    with socket.create_connection((split.hostname, split.port), timeout=seconds) as connection:
        try:
            connection.sendall(one.raw)
            while part := connection.recv(65536):
                answer += part
        except (BrokenPipeError, ConnectionResetError, TimeoutError):  # refused before all of it was read; or no end
            pass
    words = answer.split(b" ", 2)
    return (int(words[1]), answer) if len(words) > 1 and words[1].isdigit() else (None, answer)


def fault(one: Hostile, status: int | None, answer: bytes) -> str | None:
    """What is wrong with an answer; None for nothing."""
    if status is None:
        return None if one.may_close else "no answer"
    if not 400 <= status < 500:
        return f"status {status}"
    return "a traceback" if b"Traceback" in answer or b'File "' in answer else None


def main() -> int:
    """Sends them; 0 where all were refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--num", type=int, default=2000)
    args = parser.parse_args()
    host, begun = urlsplit(args.address).netloc, time.monotonic()
    statuses: collections.Counter = collections.Counter()
    faults, slowest = [], (0.0, "")
    for one in requests(host, args.num):
        since = time.monotonic()
        status, answer = send(args.address, one)
        slowest = max(slowest, (time.monotonic() - since, one.name))
        statuses[one.name.split()[0], status] += 1
        if said := fault(one, status, answer):
            faults.append(f"{one.name}: {said}")
    for (kind, status), count in sorted(statuses.items(), key=str):
        print(f"{kind:8} {status or 'closed'}  {count}")
    print(f"{args.num} requests in {time.monotonic() - begun:.0f} s, {len(faults)} faults; "
          f"the slowest took {slowest[0]:.1f} s: {slowest[1]}")
    print("\n".join(faults[:20]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
