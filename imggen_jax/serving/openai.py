"""The form of requests, answers, events and errors: OpenAI's Images API, and its like for the other verbs.

What a field asks for is done or refused, never passed over: OpenAI's fields that nothing here can honor are refused by
`extra="forbid"`, and those that only say who asks (`user`, `safety_identifier`, `moderation`) change nothing.
"""
from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imggen_jax import prompts
from imggen_jax.model import MOST_SEEDS

MOST = 10                        # pictures of a request
MOST_PARTIAL = 3
STEPS = {"low": 0.5, "medium": 1.0, "standard": 1.0, "auto": 1.0, "high": 2.0, "hd": 2.0}  # quality, in the usual steps
FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_CODES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          408: "timeout_error", 413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error"}

Prompt = Annotated[str, Field(max_length=prompts.LONGEST)]
Text = Annotated[str, Field(max_length=256)]


class ApiError(Exception):
    """An error as it is answered: OpenAI's error object."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None,
                 kind: str | None = None, headers: Mapping[str, str] = {}):
        """kind: the object's `type`; None: by the status."""
        message, param = _told(message), None if param is None else _told(param)
        super().__init__(message)
        ends = {"Connection": "close"} if status in (408, 413) else {}   # the rest of the body is not read
        self.status, self.headers = status, {**ends, **headers}
        self.body = {"error": {"message": message, "type": kind or _CODES.get(
            status, "invalid_request_error" if status < 500 else "server_error"), "param": param, "code": code}}


def _told(text: str) -> str:
    """A text that may hold what was sent, as one that can be sent: without halves of UTF-16 pairs."""
    return text.encode("utf-8", "replace").decode()


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class Output(_Request):
    """How pictures are answered."""

    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    user: Text | None = None
    safety_identifier: Text | None = None

    @property
    def format(self) -> str:
        """Of the pictures' files."""
        return self.output_format or "png"


class _Making(Output):
    model: Text | None = None
    n: Annotated[int, Field(ge=1, le=MOST)] | None = None
    size: Text | None = None
    seed: Annotated[int, Field(ge=0, lt=MOST_SEEDS)] | None = None     # an extension: of the first picture

    @property
    def number(self) -> int:
        """Of pictures."""
        return 1 if self.n is None else self.n


class Variation(_Making):
    """POST /v1/images/variations, beside `image`."""

    prompt: Prompt | None = None                                       # an extension: what the picture shows


class Generation(_Making):
    """POST /v1/images/generations."""

    prompt: Prompt
    quality: Literal["low", "medium", "high", "auto", "standard", "hd"] | None = None
    background: Literal["opaque", "auto"] | None = None
    moderation: Literal["auto", "low"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=MOST_PARTIAL)] | None = None


class Edit(Generation):
    """POST /v1/images/edits, beside `image` and `mask`."""

    input_fidelity: Literal["low", "high"] | None = None               # what is not edited is kept to the bit


class Upscale(Output):
    """POST /v1/upscale, beside `image`."""

    model: Text | None = None
    scale: Literal[2, 3, 4, "2", "3", "4"] | None = None
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0


class Remove(Output):
    """POST /v1/remove, beside `image` and `mask`."""

    seed: Annotated[int, Field(ge=0, lt=MOST_SEEDS)] = 0
    quality: Literal["draft", "normal", "best"] = "normal"


class Stylize(Remove):
    """POST /v1/stylize, beside `image` and `style`."""

    strength: Annotated[float, Field(ge=0, le=1)] = 1.0


class Look(_Request):
    """POST /v1/verify and /v1/detect, beside `image`."""


def read(schema: type[_Request], fields: Mapping[str, Any]) -> Any:
    """Checked fields of a request.

    Raises:
      ApiError: 400, which names the first field that is wrong.
    """
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0])[:64] if first["loc"] else None
        known = ", ".join(schema.model_fields)
        said = f"{name!r} is not a field of this request, which takes {known}" if first["type"] == "extra_forbidden" \
            else f"{name}: {first['msg']}"
        code = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}.get(
            first["type"], "invalid_value")
        raise ApiError(400, said, code=code, param=name) from None


def size_of(text: str | None) -> tuple[int, int] | None:
    """(width, height) of "64x64"; None for "auto" and nothing. Raises ApiError."""
    if text in (None, "auto"):
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ApiError(400, f"size is {text!r:.40}; it must be auto or WIDTHxHEIGHT, as 64x64", code="invalid_value",
                       param="size")
    return int(found[1]), int(found[2])


def answer(images: Sequence[Mapping[str, Any]], asked: Output, size: tuple[int, int]) -> dict[str, Any]:
    """OpenAI's ImagesResponse. images: each {"b64_json": ...} or {"url": ...}, and "seed" where it has one."""
    return {"created": int(time.time()), "data": list(images), "background": "opaque", "output_format": asked.format,
            "quality": _quality(asked), "size": f"{size[0]}x{size[1]}", "usage": _usage(len(images))}


def event(kind: str, b64_json: str, asked: Output, size: tuple[int, int], **more: Any) -> dict[str, Any]:
    """An event of a stream. kind: "image_generation.partial_image", "image_edit.completed", ..."""
    found = {"type": kind, "b64_json": b64_json, "created_at": int(time.time()), "background": "opaque",
             "output_format": asked.format, "quality": _quality(asked), "size": f"{size[0]}x{size[1]}", **more}
    return found | ({"usage": _usage(1)} if kind.endswith("completed") else {})


def _quality(asked: Output) -> str:
    said = getattr(asked, "quality", None)
    return {"hd": "high", "low": "low", "high": "high"}.get(said or "", "medium")


def _usage(images: int) -> dict[str, Any]:
    """Clients expect tokens; what is counted here are pictures."""
    return {"input_tokens": 0, "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}, "output_tokens": images,
            "total_tokens": images}
