"""What is answered: streams of events, and errors as OpenAI's error object, without anything of the service's own."""
from __future__ import annotations

import base64
import contextlib
import json
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from imggen_jax.errors import ImggenError, SaveError, brief
from imggen_jax.serving import openai
from imggen_jax.serving.guards import LOGGED
from imggen_jax.serving.keys import Spent
from imggen_jax.serving.models import Unknown, Vanished
from imggen_jax.serving.openai import ApiError
from imggen_jax.serving.worker import Done, Event, Failed, Full, Late, Stopped
from imggen_jax.storage.files import disk_is_full

GONE = 499               # as nginx calls it: nobody waits for the answer
HANDLED = (ImggenError, OSError, ApiError, HTTPException, ClientDisconnect)  # errors that `error_answer` takes


async def stream(events: AsyncGenerator[Event, None], asked: openai.Output, kind: str) -> AsyncIterator[bytes]:
    """Server-sent events, as OpenAI names them; an error on the way is an event, too."""
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                for one in _told(event, asked, kind):
                    yield f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode()
    except Exception as error:  # noqa: BLE001 - the status is sent already
        body = _explained(error).body
        yield f"event: error\ndata: {json.dumps({'type': 'error', **body})}\n\n".encode()


def _told(event: Event, asked: openai.Output, kind: str) -> list[dict[str, Any]]:
    if isinstance(event, Failed):
        return []
    number, made = (None, event.value) if isinstance(event, Done) else event.value
    said = []
    for place, content in enumerate(made.files):
        more: dict[str, Any] = {"seed": made.seeds[place]} if made.seeds else {}
        if number is not None:
            more["partial_image_index"] = number
        b64_json = base64.b64encode(content).decode()
        said.append(openai.event(f"{kind}.{'completed' if number is None else 'partial_image'}", b64_json, asked,
                                 made.size, **more))
    return said


def gone() -> ApiError:
    """The answer to nobody."""
    return ApiError(GONE, "nobody waits for the answer")


def not_there() -> ApiError:
    """Of a picture that is not there, or is another's."""
    return ApiError(404, "there is no such picture, or not any more", code="not_found")


async def error_answer(request: Request, error: Exception) -> Response:
    """The answer to an error that is expected."""
    said = _explained(error)
    return JSONResponse(said.body, said.status, said.headers)


async def bug_answer(request: Request, error: Exception) -> Response:
    """The answer to any other, which is logged."""
    log(error)
    request.scope[LOGGED] = True
    said = _bug()
    return JSONResponse(said.body, said.status)


def _bug() -> ApiError:
    return ApiError(500, "something went wrong in the service; its log says what", code="internal_error")


def _explained(error: BaseException) -> ApiError:
    """An error as it is answered: what the client can do something about; of ours, no more than that it is there."""
    match error:
        case ApiError():
            return error
        case Full():
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(error.seconds)})
        case Spent():
            return ApiError(429, str(error), code="insufficient_quota", kind="insufficient_quota",
                            headers={"Retry-After": str(error.seconds), "x-should-retry": "false"})
        case Unknown():
            return ApiError(404, str(error), code="model_not_found", param="model")
        case Late():
            return ApiError(503, str(error), code="timeout", headers={"x-should-retry": "false"})
        case Stopped():
            return ApiError(503, str(error), code="stopped")
        case Vanished():
            log(error)
            return ApiError(503, str(error), code="model_unavailable", param="model",
                            headers={"x-should-retry": "false"})
        case ClientDisconnect():
            return gone()
        case HTTPException():
            said = {404: "there is no such page", 405: "this page does not take this method"}
            return ApiError(error.status_code, said.get(error.status_code, str(error.detail)[:200]),
                            headers=error.headers or {})
    if isinstance(error, SaveError) or isinstance(error, OSError) and disk_is_full(error):
        log(error)
        return ApiError(507, "the disk of the service is full; nothing that was finished is lost", code="disk_full",
                        headers={"x-should-retry": "false"})
    if isinstance(error, ImggenError):
        return ApiError(400, str(error), code="invalid_value")
    log(error)
    return _bug()


def log(error: BaseException) -> None:
    """A line, or the traceback of what is a bug, for whoever runs the service."""
    if isinstance(error, ImggenError | OSError):
        causes = [error, *([error.__cause__] if error.__cause__ else [])]
        print("error: " + "; ".join(brief(each) for each in causes), file=sys.stderr)
    else:
        print("".join(traceback.format_exception(error)), file=sys.stderr)
