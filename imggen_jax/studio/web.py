"""The server of the studio: pictures by their ids, and what keeps other pages and machines out.

Nothing is served by the name of a file, and no SVG or HTML of a user; pages may load what this server has and nothing
else (Content-Security-Policy). Requests for another host are refused (DNS rebinding), as are changes that another page
asks for (CSRF), and bodies that are too large.
"""
from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import fastapi
from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

from imggen_jax.errors import ImggenError
from imggen_jax.studio.home import SHOWN, Home
from imggen_jax.studio.index import Asked, Picture

ASSETS = Path(__file__).parent / "assets"
MOST_BODY = 2_000_000_000         # bytes: a zip of pictures
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; "
          "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'")
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
           "Cross-Origin-Opener-Policy": "same-origin"}
OPEN = ("/gradio_api/queue/", "/gradio_api/run/", "/gradio_api/upload", "/gradio_api/file=",
        "/gradio_api/heartbeat/", "/gradio_api/cancel",
        "/gradio_api/startup-events", "/gradio_api/component_server", "/gradio_api/reset", "/gradio_api/app_id",
        "/assets/", "/static/", "/theme.css", "/config", "/pictures", "/studio/", "/favicon.ico", "/manifest.json",
        "/gradio_api/info", "/svelte/")  # what pages ask for; the rest of Gradio's server is closed

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """ASGI: refuses what does not come from the studio's own pages, and adds the headers that bind them."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], hosts: set[str], head: str = ""):
        """hosts: values of the header Host that mean this server; head: is added to the head of the page "/"."""
        self._app, self._hosts, self._head = app, hosts, head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if (refusal := self._refusal(scope["method"], scope["path"], headers)) is not None:
            await PlainTextResponse(refusal[1] + "\n", refusal[0], HEADERS)(scope, receive, send)
            return
        left = MOST_BODY

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                return {"type": "http.disconnect"}
            return message

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower().encode() for name in HEADERS}
                message["headers"] = [*((name, value) for name, value in message.get("headers", ())
                                        if name.lower() not in own),
                                      *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            await send(message)

        if scope["path"] == "/" and scope["method"] == "GET" and self._head:
            plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
            await self._app({**scope, "headers": plain}, bounded, _inserting(headed, self._head))
        else:
            await self._app(scope, bounded, headed)

    def _refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host") not in self._hosts:
            return 421, "this address does not belong to the studio; open the one that it printed"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] not in self._hosts:
            return 403, "another page may not ask for this"
        if headers.get("sec-fetch-site") == "cross-site" and method not in ("GET", "HEAD"):
            return 403, "another page may not ask for this"
        if path != "/" and not path.startswith(OPEN):
            return 404, "there is no such page"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return 413, f"more than {MOST_BODY // 10**9} GB are not taken"
        return None


def _inserting(send: Send, head: bytes) -> Send:
    """`send` of a page that is not compressed, with more at the end of its head."""
    start: list[MutableMapping[str, Any]] = []
    body = bytearray()

    async def whole(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        if message["type"] != "http.response.body":
            await send(message)
            return
        body.extend(message.get("body", b""))
        if not message.get("more_body", False):
            page = bytes(body).replace(b"</head>", head + b"</head>", 1)
            start[0]["headers"] = [*((name, value) for name, value in start[0].get("headers", ())
                                     if name.lower() != b"content-length"),
                                   (b"content-length", str(len(page)).encode())]
            await send(start[0])
            await send({"type": "http.response.body", "body": page})

    return whole


def hosts(host: str, port: int) -> set[str]:
    """What the header Host may be of a server at this address."""
    names = {"localhost", "127.0.0.1", "[::1]"} if host in ("127.0.0.1", "localhost", "::1") else {host}
    return {f"{name}:{port}" for name in names}


def routes(home: Home) -> fastapi.FastAPI:
    """The application with what the pages load beside Gradio's own; Gradio is mounted below it."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/studio/{name}")
    def asset(name: str) -> Response:
        kinds = {"studio.js": "text/javascript", "studio.css": "text/css"}
        return FileResponse(ASSETS / name, media_type=kinds[name]) if name in kinds else _missing()

    @app.get("/pictures")
    def pictures(request: Request) -> Response:
        asked, offset, limit = _asked(dict(request.query_params))
        found = home.index.find(asked, offset, limit)
        return JSONResponse({"count": home.index.count(asked), "pictures": [summary(one) for one in found],
                             "models": home.index.models() if offset == 0 else []})

    @app.get("/pictures/{id}/{kind}")
    def picture(id: str, kind: str) -> Response:
        try:
            found = home.index.get(id)
            path = home.thumbnail(found) if kind == "thumb" else home.path(found)
        except (ImggenError, OSError):
            return _missing()
        if kind not in ("thumb", "view", "file"):
            return _missing()
        sent = FileResponse(path, media_type=SHOWN.get(path.suffix.lower(), "application/octet-stream"))
        if kind == "file":
            sent.headers["Content-Disposition"] = f'attachment; filename="{download_name(found)}"'
        sent.headers["Cache-Control"] = "private, max-age=86400"
        return sent

    return app


def summary(one: Picture) -> dict[str, Any]:
    """What a page is told of a picture in a list."""
    return {"id": one.id, "title": one.title, "time": one.time, "model": os.path.basename(one.model),
            "width": one.width, "height": one.height}


def download_name(one: Picture) -> str:
    """A file's name that says what it shows, in letters that every system takes."""
    said = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in one.title)[:60].strip("_")
    return f"{said or one.verb}_{one.id[:6]}{os.path.splitext(one.file)[1]}"


def _asked(query: dict[str, str]) -> tuple[Asked, int, int]:
    def number(name: str, otherwise: float = 0.0) -> float:
        try:
            value = float(query.get(name, otherwise))
        except ValueError:
            return otherwise
        return value if abs(value) < 1e12 else otherwise  # nan, too

    family = query.get("family", "")
    asked = Asked(query.get("words", "")[:500], query.get("model", "")[:1000], number("after"), number("before"),
                  family if len(family) == 16 else "")
    return asked, int(number("offset")), int(number("limit", 200))


def _missing() -> Response:
    return PlainTextResponse("there is no such picture\n", 404)


def dumps(value: Any) -> str:
    """JSON that may stand in HTML."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
