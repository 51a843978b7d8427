"""README and docs: commands parse, snippets compile and name what exists, links lead somewhere, the tutorial runs."""
import ast
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from imggen_jax import config, flags, main
from imggen_jax.config import schema, values

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "write_a_game.md"
TOP_LEVEL = {"imggen_jax", "editing", "data", "metrics", "api", "specs"}  # names whose attributes snippets use

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(title, text) of the code blocks of a language."""
    found = re.findall(rf'^```{language}(?: title="([^"]*)")?\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
    return [(title, text) for title, text in found if not text.startswith("--8<--")]  # a file of the package


def prose(page: Path) -> str:
    """A page without its code blocks and comments."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every command of this package: in bash blocks, and in inline code."""
    lines = [line for _, text in blocks(page, "bash") for line in text.replace("\\\n", " ").splitlines()]
    lines += [code for code in re.findall(r"`([^`\n]+)`", prose(page)) if re.match(r"imggen [a-z]+ \S", code)]
    words = [shlex.split(line, comments=True) for line in lines]
    found = [each[1:] for each in words if each[:1] == ["imggen"]]
    return found + [each[3:] for each in words if each[1:3] == ["-m", "imggen_jax.main"]]


class Parsed(Exception):
    """A command line was accepted; nothing was run."""


@pytest.fixture
def only_parse(monkeypatch):
    """Lets every verb end where its flags and config are understood."""
    def parsed(*_):
        raise Parsed

    def parse_args(self, args=None, namespace=None):
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self.refuse(rest[0])
        raise Parsed

    monkeypatch.setattr(flags.Parser, "parse_args", parse_args)
    monkeypatch.setattr(main, "_start_jax", parsed)


def test_there_are_commands():
    assert len(commands(ROOT / "README.md")) > 20


@pages
def test_commands_parse(page, only_parse, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for title in ("flow.py", "my_config.py"):  # config files of the reader's own
        (tmp_path / title).write_text("from imggen_jax.configs.avatars_vae import get_config\n")
    for words in commands(page):
        if "--help" in words:
            continue
        try:
            code = main.main(words)
        except Parsed:
            continue
        except SystemExit as end:
            code = end.code
        assert code == 0 and "--print-config" in words, f"{shlex.join(words)}: {capsys.readouterr().err}"


def test_a_wrong_command_does_not_parse(only_parse, capsys):
    assert main.main(["vray", "--model", "m"]) == 2
    assert main.main(["train", "--config", "avatars_vae", "--config.train.bacth=3"]) == 2
    with pytest.raises(SystemExit):
        main.main(["vary", "--model", "m", "--sed", "3", "--out", "o"])


@pages
def test_config_keys_exist(page):
    known = values.flatten(config.resolve(config.read("avatars_vae")))
    for path in re.findall(r"config\.((?:seed|data|init|train|ema|devices|log|score)(?:\.\w+)+)", page.read_text()):
        section, name, *_ = path.split(".")
        if section in schema.SECTIONS and not name.isupper():
            assert f"{section}.{name}" in known, f"config.{path} is no key"


@pages
def test_python_compiles_and_names_what_exists(page):
    joined: dict[str, str] = {}
    for number, (title, text) in enumerate(blocks(page, "python")):
        joined[title or str(number)] = joined.get(title, "") + text
    for text in joined.values():
        tree = ast.parse(text)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.asname or alias.name: importlib.import_module(alias.name)
                            for alias in node.names if alias.name.startswith("imggen_jax")}
            if isinstance(node, ast.ImportFrom) and node.module.startswith("imggen_jax"):
                for alias in node.names:
                    modules[alias.asname or alias.name] = _named(node.module, alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr} does not exist"


def _named(module: str, name: str):
    """What `from module import name` imports."""
    home = importlib.import_module(module)
    return getattr(home, name) if hasattr(home, name) else importlib.import_module(f"{module}.{name}")


@pages
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(#[^)\s]*)?\)", prose(page)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor and file.suffix == ".md" and "imggen_jax" not in anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor[1:] in slugs, f"{page.name} links to {target}{anchor}, and there is no such heading"


@pages
def test_references_name_what_exists(page):
    """`::: module` and [text][module.name] of mkdocstrings."""
    text = page.read_text()
    for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        importlib.import_module(name)
    for name in re.findall(r"\]\[(imggen_jax[\w.]*)\]", text):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{name} does not exist"


def test_the_menu_lists_every_page():
    """But for those that the build hook adds."""
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": (\S+\.md)$", text, re.MULTILINE)) - {"index.md", "contributing.md", "changelog.md"}
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_the_architecture_page_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text()
    parts = (ROOT / "imggen_jax").iterdir()
    rooms = {path.name for path in parts if path.suffix == ".py" or (path / "__init__.py").is_file()}
    for name in rooms - {"__init__.py"}:
        assert re.search(rf"`(imggen_jax/)?{name}/?`", text), f"docs/architecture.md does not say what {name} holds"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_readme_lists_every_verb_and_config():
    text = (ROOT / "README.md").read_text()
    verbs = {words[0] for words in commands(ROOT / "README.md")}
    parsers = set(main.editing.VERBS) | {"train", "generate", "evaluate", "describe", "export", "prepare", "data"}
    assert parsers <= verbs
    assert {name for name in config.shipped() if name != "demo"} <= set(re.findall(r"`(\w+)`", text))


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """A folder to be in, whose modules can be imported and are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_games"):
            del sys.modules[name]


def test_the_tutorial_runs(own_modules):
    texts: dict[str, str] = {}
    for title, text in blocks(TUTORIAL, "python"):
        texts[title] = texts.get(title, "") + text
    for title, text in texts.items():
        Path(title).parent.mkdir(parents=True, exist_ok=True)
        Path(title).write_text(text)
    assert len([line for line in texts["my_games/flow.py"].splitlines() if line.strip()]) <= 100
    for title in ("draw.py", "train.py"):
        runpy.run_path(title)
    found = runpy.run_path("sample.py")
    assert found["disks"].shape == (4, 16, 16, 3) and found["mixed"].shape == (3, 16, 16, 3)
    assert found["noise"].shape == (4, 768)
    # The way back and forth is the same, but for the steps' error and rounding.
    assert np.mean(np.abs(found["again"].astype(int) - found["disks"])) < 12
    assert len(np.unique(found["disks"].reshape(4, -1), axis=0)) == 4
    assert (own_modules / "runs" / "flow" / "report.html").is_file()
