"""Build hook of the site: files outside docs/ become a part of it, and links that work in the repository work there.

README.md is the home page. A link is written as it is right in the repository, from the file in which it stands; here
it is rewritten for the site. One to a file that is no part of the site becomes its text. One that leads nowhere stays
as it is, and the strict build refuses it.
"""
from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
SUFFIXES = {".md", ".png", ".jpg", ".json", ".py", ".txt", ".ipynb"}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config) -> Files:
    """Adds the pages of the root, experiments/, configs/ and the license."""
    others = [path for folder in ("experiments", "configs") for path in sorted((ROOT / folder).rglob("*"))
              if path.suffix in SUFFIXES and "__pycache__" not in path.parts]
    for path in (*(ROOT / name for name in PAGES), ROOT / "LICENSE", *others):
        here = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, PAGES.get(here, here), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Rewrites the links of a page."""
    uri = page.file.src_uri
    here = next((name for name, made in PAGES.items() if made == uri), uri if (ROOT / uri).exists() else f"docs/{uri}")

    def rewritten(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        if (ROOT / target / "README.md").is_file():
            target += "/README.md"
        site = PAGES.get(target, target.removeprefix("docs/"))
        if not (ROOT / target).is_file():
            return match[0]
        if files.get_file_from_path(site) is None:
            return match[1]
        return f"[{match[1]}]({posixpath.relpath(site, posixpath.dirname(uri) or '.')}{match[3] or ''})"

    return LINK.sub(rewritten, markdown)
