"""The reference of the service as OpenAPI and as a page, which loads nothing from anywhere."""
from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from imggen_jax.storage import templates

_TEMPLATE = Path(__file__).with_name("reference.html.jinja")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1b1b1f;
       background: #fff; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-top: 1px solid #ccc; padding-top: 1rem; }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid #ddd; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6ea; background: #17171b; }
  h2, td, th { border-color: #444; }
}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'; "
          "form-action 'none'")


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a JSON body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema.model_json_schema()}}}}


def form_body(schema: type[BaseModel], files: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """What OpenAPI says of a form with files."""
    said = schema.model_json_schema()
    pictures = {name: {"type": "string", "format": "binary", "title": name.title(),
                       "description": "a PNG, JPEG or WebP file"} for name in (*files, *optional)}
    said["properties"] = {**pictures, **said.get("properties", {})}
    said["required"] = [*files, *said.get("required", [])]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": said}}}}


def reference(said: Mapping[str, Any]) -> HTMLResponse:
    """The page of an OpenAPI document."""
    routes = [{"method": method.upper(), "path": path, "summary": route.get("summary", ""), "body": _body(route)}
              for path, methods in said["paths"].items() for method, route in methods.items()]
    page = templates.render(_TEMPLATE, info=said["info"], routes=routes, style=STYLE)
    return HTMLResponse(page, headers={"content-security-policy": POLICY})


def _body(route: Mapping[str, Any]) -> dict[str, Any]:
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        fields = [{"name": name, "type": _type(field), "needed": name in schema.get("required", [])}
                  for name, field in schema.get("properties", {}).items()]
        return {"kind": kind, "fields": fields}
    return {"kind": "", "fields": []}


def _type(field: Mapping[str, Any]) -> str:
    """A field's values in words."""
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"] if each.get("type") != "null")
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if field.get("format") == "binary":
        return field.get("description", "file")
    low, high = field.get("minimum"), field.get("maximum", field.get("exclusiveMaximum"))
    return str(field.get("type", "")) + (f" from {low} to {high}" if low is not None and high is not None else "")
