"""The routes. Each reads a request, makes a job of it, and answers with what the worker made."""
from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

import imggen_jax
from imggen_jax.serving import answers, openai, pages, uploads
from imggen_jax.serving.batches import Batches
from imggen_jax.serving.guards import Guard, Limits
from imggen_jax.serving.keys import Key, Keys
from imggen_jax.serving.models import Models
from imggen_jax.serving.monitoring import Metrics
from imggen_jax.serving.openai import ApiError
from imggen_jax.serving.sending import Made
from imggen_jax.serving.shelf import Shelf
from imggen_jax.serving.verbs import Verbs
from imggen_jax.serving.worker import Done, Event, Failed, Job, Ticket, Worker

LOCAL = "local"          # who asks where there are no keys


class Service(NamedTuple):
    """What the routes use."""

    models: Models
    worker: Worker
    shelf: Shelf
    batches: Batches
    verbs: Verbs
    metrics: Metrics
    keys: Keys | None        # None: whoever reaches the service may use it
    limits: Limits
    hosts: frozenset[str]


def make(service: Service) -> Guard:
    """The ASGI application."""
    app = FastAPI(title="imggen_jax", version=imggen_jax.__version__, docs_url=None, redoc_url=None,
                  description="OpenAI's Images API for models of this computer, and other verbs. Nothing leaves it.")
    _add_pictures(app, service)
    _add_verbs(app, service)
    _add_pages(app, service)
    for kind in answers.HANDLED:
        app.add_exception_handler(kind, answers.error_answer)
    app.add_exception_handler(Exception, answers.bug_answer)
    return Guard(app, hosts=service.hosts, limits=service.limits, seen=service.metrics.answered, lost=answers.log)


# ----------------------------------------------------------------------------------------------- OpenAI's Images API


def _add_pictures(app: FastAPI, service: Service) -> None:
    verbs, pixels = service.verbs, service.limits.pixels

    @app.post("/v1/images/generations", openapi_extra=pages.json_body(openai.Generation), summary="New pictures")
    async def generations(request: Request) -> Response:
        key = _who(request, service)
        asked = await uploads.json_body(request, openai.Generation)
        job = await run_in_threadpool(service.batches.generation, asked)
        return await _pictures(request, service, key, job, asked, "image_generation")

    @app.post("/v1/images/edits", openapi_extra=pages.form_body(openai.Edit, ["image"], ["mask"]),
              summary="A picture, or the part of it where the mask is transparent, made anew")
    async def edits(request: Request) -> Response:
        key = _who(request, service)
        asked, sent = await uploads.form_body(request, openai.Edit, ["image", "mask"], pixels)
        job = await run_in_threadpool(verbs.edit, _owner(key), asked, uploads.needed(sent, "image"), sent.get("mask"))
        return await _pictures(request, service, key, job, asked, "image_edit")

    @app.post("/v1/images/variations", openapi_extra=pages.form_body(openai.Variation, ["image"]),
              summary="Pictures that are like one")
    async def variations(request: Request) -> Response:
        key = _who(request, service)
        asked, sent = await uploads.form_body(request, openai.Variation, ["image"], pixels)
        job = await run_in_threadpool(verbs.variation, _owner(key), asked, uploads.needed(sent, "image"))
        return await _pictures(request, service, key, job, asked, "")

    @app.get("/v1/images/files/{name}", summary="A picture that was asked for as url, for an hour")
    async def file(name: str, request: Request) -> Response:
        found = await run_in_threadpool(service.shelf.find, _owner(_who(request, service)), name)
        if found is None:
            raise answers.not_there()
        return Response(found[0], media_type=found[1])

    @app.delete("/v1/images/files/{name}", summary="Delete such a picture")
    async def delete(name: str, request: Request) -> dict[str, Any]:
        if not await run_in_threadpool(service.shelf.drop, _owner(_who(request, service)), name):
            raise answers.not_there()
        return {"id": name, "object": "file", "deleted": True}

    @app.get("/v1/models", summary="The models that are served")
    async def models(request: Request) -> dict[str, Any]:
        _who(request, service)
        return {"object": "list", "data": [_model(facts) for facts in service.models.facts()]}

    @app.get("/v1/models/{name}", summary="One of them")
    async def model(name: str, request: Request) -> dict[str, Any]:
        _who(request, service)
        entry = service.models.entry(name)
        return next(_model(facts) for facts in service.models.facts() if facts["id"] == entry.id)


def _model(facts: dict[str, Any]) -> dict[str, Any]:
    return {"object": "model", "created": 0, "owned_by": "imggen_jax", **facts}


# --------------------------------------------------------------------------------------------------- the other verbs


def _add_verbs(app: FastAPI, service: Service) -> None:
    verbs, pixels = service.verbs, service.limits.pixels

    def add(path: str, schema: Any, names: list[str], summary: str, make: Callable[..., Job]) -> None:
        async def verb(request: Request) -> Response:
            key = _who(request, service)
            asked, sent = await uploads.form_body(request, schema, names, pixels)
            pictures = [uploads.needed(sent, name) for name in names]
            job = await run_in_threadpool(make, asked, *pictures)
            if schema is openai.Look:
                return JSONResponse(await _outcome(request, service, key, job))
            return await _pictures(request, service, key, job, asked, "")

        app.post(path, openapi_extra=pages.form_body(schema, names), summary=summary, operation_id=path)(verb)

    add("/v1/upscale", openai.Upscale, ["image"], "A picture, larger",
        lambda asked, image: verbs.upscale(asked, image, pixels))
    add("/v1/remove", openai.Remove, ["image", "mask"], "A picture without what the mask leaves transparent",
        verbs.remove)
    add("/v1/stylize", openai.Stylize, ["image", "style"], "A picture painted as another is", verbs.stylize)
    add("/v1/detect", openai.Look, ["image"], "Is there a watermark?", lambda asked, image: verbs.detect(image))
    add("/v1/verify", openai.Look, ["image"], "Who signed a picture, and was it changed since?",
        lambda asked, image: verbs.verify(image))


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether pictures can be made")
    async def healthz() -> Response:
        alive = service.worker.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get("/metrics", summary="Figures for Prometheus")
    async def metrics(request: Request) -> Response:
        _who(request, service)
        gauges = {"waiting_requests": service.worker.waiting, "models_loaded": len(service.models.loaded)}
        return Response(service.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return pages.reference(app.openapi())


# -------------------------------------------------------------------------------------------------- jobs and answers


def _who(request: Request, service: Service) -> Key | None:
    """Whose key the request has; None where none is needed. Raises ApiError."""
    if service.keys is None:
        return None
    said = request.headers.get("authorization", "")
    key = service.keys.owner(said[7:]) if said[:7].lower() == "bearer " else None
    if key is None:
        raise ApiError(401, "this service needs an API key: Authorization: Bearer KEY", code="invalid_api_key",
                       headers={"WWW-Authenticate": "Bearer"})
    return key


def _owner(key: Key | None) -> str:
    return LOCAL if key is None else key.id


async def _pictures(request: Request, service: Service, key: Key | None, job: Job, asked: openai.Output, kind: str
                    ) -> Response:
    """The answer of a request for pictures: all at once, or a stream of events of a kind."""
    if getattr(asked, "stream", False):
        events = _events(request, service, key, job)
        first = await anext(events, None)     # so that an error that comes first has its status
        if first is None:
            raise answers.gone()
        return StreamingResponse(answers.stream(_with(first, events), asked, kind), media_type="text/event-stream")
    made: Made = await _outcome(request, service, key, job)
    images: list[dict[str, Any]] = []
    for content in made.files:
        if asked.response_format == "url":
            name = await run_in_threadpool(service.shelf.keep, _owner(key), content, openai.FORMATS[asked.format])
            images.append({"url": f"{request.base_url}v1/images/files/{name}"})
        else:
            images.append({"b64_json": base64.b64encode(content).decode()})
    for image, seed in zip(images, made.seeds):
        image["seed"] = seed
    return JSONResponse(openai.answer(images, asked, made.size))


async def _outcome(request: Request, service: Service, key: Key | None, job: Job) -> Any:
    """What the worker made of a job. Raises what it raised."""
    async with contextlib.aclosing(_events(request, service, key, job)) as events:
        async for event in events:
            if isinstance(event, Done):
                return event.value
    raise answers.gone()


async def _events(request: Request, service: Service, key: Key | None, job: Job) -> AsyncGenerator[Event, None]:
    """What the worker tells of a job, to its end, or until the client hangs up: then the job is canceled.

    Raises what the job raises. A quota is charged for what is made.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Queue()

    def listen(event: Event) -> None:
        with contextlib.suppress(RuntimeError):       # the loop is closed: the service has ended
            loop.call_soon_threadsafe(told.put_nowait, event)

    if service.keys is not None and key is not None:
        service.keys.charge(key, job.rows)
    ticket: Ticket | None = None
    done = False
    hang_up = asyncio.create_task(_hangs_up(request))
    try:
        ticket = service.worker.submit(_owner(key), job, listen)
        while not done:
            coming = asyncio.create_task(told.get())
            await asyncio.wait({coming, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            event = coming.result()
            if isinstance(event, Failed):
                raise event.error
            done = isinstance(event, Done)
            yield event
    finally:
        hang_up.cancel()
        if ticket is not None:
            ticket.cancel()
        if not done and service.keys is not None and key is not None:
            service.keys.charge(key, -job.rows)


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _with(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[Event]:
    yield first
    async with contextlib.aclosing(rest):
        async for event in rest:
            yield event
