"""Pages and cards, written by the Jinja templates that lie beside the modules that fill them."""
from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def render(template: Path, **values: Any) -> str:
    """What a template makes of values. What is filled into one named *.html.jinja is escaped: it stays text.

    A value that the template names and that is not given raises `jinja2.UndefinedError`.
    """
    return _compiled(template).render(**values)


@functools.cache
def _compiled(template: Path) -> jinja2.Template:
    import jinja2  # late: few commands write a page

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(template.parent),
                                     autoescape=template.name.endswith(".html.jinja"),
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template.name)
