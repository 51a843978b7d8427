"""What every request passes before a route sees it, and every answer before it leaves.

Pages of others must not reach a service on this computer: neither by a name that they point to it (DNS rebinding, seen
in the Host header) nor from a browser that has it open (CSRF, seen in Origin and Sec-Fetch-Site). Bodies are bounded in
bytes and time.
"""
from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from imggen_jax.serving.openai import ApiError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOGGED = "imggen_jax.logged"     # in the scope of a request whose error was told to whoever runs the service
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store"}


class Limits(NamedTuple):
    """What a request may have."""

    body: int = 32_000_000       # bytes
    pixels: int = 16_000_000     # of a picture that is sent
    upload: float = 60.0         # seconds in which a body has to arrive


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches what listens at a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def name_of(netloc: str) -> str:
    """The host of "host:port", in lower case; "" for what is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def check_source(headers: Mapping[str, str], hosts: Collection[str]) -> None:
    """Whether a request was meant for this service, and by a page of its own if by a page at all.

    Args:
      headers: by their names in lower case.
      hosts: names and addresses by which the service may be called; any address, too, where "*" is among them.

    Raises:
      ApiError: 403.
    """
    netloc = headers.get("host", "")
    host = name_of(netloc)
    if host not in hosts and not ("*" in hosts and _is_address(host)):
        raise ApiError(403, f"this service does not answer to the host {host!r:.80}; whoever runs it can allow it with "
                       "--allow-host", code="host_not_allowed")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{netloc.lower()}", f"https://{netloc.lower()}"):
        raise ApiError(403, "this service does not answer to pages of other origins", code="origin_not_allowed")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ApiError(403, "this service does not answer to pages of other sites", code="origin_not_allowed")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: Callable[..., Awaitable[None]], *, hosts: Collection[str], limits: Limits,
                 seen: Callable[[str, int, float], object], lost: Callable[[BaseException], object]):
        """seen: is called with the route, the status and the seconds of each answer; lost: with errors of ours."""
        self._app, self._hosts, self._limits = app, frozenset(hosts), limits
        self._seen, self._lost = seen, lost

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status = time.monotonic(), 0

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(
                    (name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in present)]
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            check_source(headers, self._hosts)
            self._check_length(headers.get("content-length"))
            await self._app(scope, self._bounded(receive), sending)
        except ApiError as error:
            if not status:
                await _refuse(sending, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, no traceback leaves
            if LOGGED not in scope:
                self._lost(error)
            if not status:
                await _refuse(sending, ApiError(500, "something went wrong in the service; its log says what",
                                                code="internal_error"))
        finally:
            route = scope.get("route")
            self._seen(getattr(route, "path", "other"), status, time.monotonic() - begun)

    def _check_length(self, said: str | None) -> None:
        if said is not None and (not said.isdecimal() or len(said) > 15 or int(said) > self._limits.body):
            raise _too_large(self._limits)

    def _bounded(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        """`receive`, which ends a body that is too large or takes too long."""
        size, deadline, more = 0, time.monotonic() + self._limits.upload, True

        async def bounded() -> dict[str, Any]:
            nonlocal size, more
            if not more:                     # the whole body is there; what comes now is the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0.01))
            except TimeoutError:
                raise ApiError(408, f"the body did not arrive within {self._limits.upload:g} s",
                               code="timeout") from None
            size += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if size > self._limits.body:
                raise _too_large(self._limits)
            return message

        return bounded


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"the body has more than {limits.body:,} bytes", code="body_too_large")


async def _refuse(send: Callable[..., Any], error: ApiError) -> None:
    body = json.dumps(error.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close"), *((name.lower().encode(), value.encode())
                                            for name, value in error.headers.items())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
