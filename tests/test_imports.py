"""Who imports whom, read from the import statements, and that there is one training step."""
import ast
import functools
import importlib
import re
import sys
from pathlib import Path

import pytest

import imggen_jax

ROOT = Path(imggen_jax.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
# The rooms from the lowest to the highest. A room imports only rooms below it, and of those only the ones named here
# where something is named: the rooms that stand alone stay usable alone.
ORDER = [
    "errors", "patches", "prompts", "spec", "bicubic", "threads", "streams", "ports", "storage", "game", "nets",
    "losses", "augment", "ada", "degradations", "optim", "devices", "step", "transforms", "samplers", "schedules",
    "conditioning", "latents", "games", "weights", "metrics", "configs", "config", "data", "pictures", "provenance",
    "texts", "sampling", "inversion", "model", "training", "exporting", "zoo", "pipelines", "adapters", "loading",
    "evaluation", "cards", "generating", "api", "translators", "picture_verbs", "flags", "hub", "editing",
    "prompting", "studio", "serving", "main"]
NARROW = {
    "errors": set(), "patches": {"errors"}, "prompts": {"errors"}, "spec": set(), "bicubic": set(), "threads": set(),
    "streams": {"errors"}, "ports": {"errors"},
    "game": {"spec"}, "nets": {"storage", "bicubic"}, "losses": set(), "augment": set(), "ada": set(), "optim": set(),
    "devices": {"storage", "threads"}, "step": {"game"}, "degradations": set(),
    "transforms": {"bicubic", "degradations", "game", "spec", "augment"},
    "samplers": set(), "schedules": {"errors"}, "conditioning": {"game", "nets"}, "latents": {"game"},
    "games": {"game", "losses", "augment", "ada", "degradations", "optim", "nets", "spec", "samplers", "conditioning",
              "latents"},
    "storage": {"errors", "game"},
    "weights": {"nets", "game", "augment", "storage", "errors"}, "metrics": {"weights", "nets", "game", "errors"},
    "data": {"spec", "errors", "storage"}, "pictures": {"storage", "errors", "bicubic"},
    "provenance": {"errors", "spec", "storage", "pictures", "prompts"},
    "texts": {"errors", "game", "prompts", "data"},
    "flags": {"errors", "prompts", "streams", "data", "evaluation", "pictures", "provenance", "api"}, "zoo": set(),
    "configs": {"errors"}, "picture_verbs": {"patches", "pictures", "provenance", "errors", "data", "translators"},
}
# Against the order: game names the type of its fields; flags of the lists that they print; games and transforms are
# found by name; the studio starts processes of the command line.
EXTRA = {"storage": {"game"}, "": {"threads", "api", "data", "config", "translators"},
         "config": {"games", "transforms"},
         "training": {"games"}, "flags": {"evaluation", "data"}, "studio": {"main"},
         "main": {"editing", "picture_verbs"}}
# What experiments may use beside `imggen_jax.__all__`: of these rooms what they export; these modules, whose names are
# all documented; any part of the rooms that are usable alone, whose speed and parity are measured; the command line.
EXPORTING = {"config", "data", "editing", "patches"}
DOCUMENTED = {"augment", "devices", "errors", "game", "sampling", "spec"}
ALONE = {"bicubic", "metrics", "nets", "pipelines", "provenance", "schedules", "weights"}
EXPERIMENTS = sorted((ROOT.parent / "experiments").rglob("*.py"))


def allowed(room: str) -> set[str]:
    """The rooms that a room may import; "" is the package's own __init__.py."""
    below = set(ORDER[:ORDER.index(room)]) if room in ORDER else set()
    inside = set() if room in ("games", "", "zoo") else {room}  # games never import each other
    return inside | ((NARROW[room] if room in NARROW else below | {""}) | EXTRA.get(room, set()))


def part(path: Path) -> str:
    """"nets" of nets/conv.py, "step" of step.py, "" of the package's __init__.py."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of all modules that a file imports, also by name in a string: importlib.import_module("a.b")."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(
                r"imggen_jax(\.\w*)+", node.value):
            found.add(node.value)
    return found


def ours(names: set[str]) -> set[str]:
    """The parts of the package among them; "" for a name of its __init__.py."""
    found = set()
    for name in names:
        top, _, rest = name.partition(".")
        if top == "imggen_jax":
            first = rest.split(".")[0]
            found.add(first if (ROOT / first).is_dir() or (ROOT / f"{first}.py").is_file() else "")
    return found


@functools.cache  # for all tests that read a file
def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_against_the_order_of_the_rooms(path):
    room = part(path)
    assert room in {*ORDER, ""}, f"{room} is new: give it a place in ORDER and in docs/architecture.md"
    assert ours(imported(parse(path))) <= allowed(room)


def test_the_order_has_no_dead_line():
    rooms = {part(path) for path in MODULES}
    assert set(ORDER) <= rooms and set(NARROW) <= rooms and set(EXTRA) <= rooms


def test_the_reader_sees_every_kind_of_import():
    text = ("import imggen_jax.step\nfrom imggen_jax import losses\n"
            "def f():\n    from imggen_jax.nets.conv import Conv\n    import_module(f'imggen_jax.games.{name}')\n"
            "    from imggen_jax import __version__\n")
    assert ours(imported(ast.parse(text))) == {"step", "losses", "nets", "games", ""}


def used(tree: ast.AST) -> set[str]:
    """Dotted names of this package that a file imports, and of what it reads from the modules that it imports."""
    modules, found = {}, {name for name in imported(tree) if name.partition(".")[0] == "imggen_jax"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else
                        alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names, root = [], node
            while isinstance(root, ast.Attribute):
                names, root = [root.attr, *names], root.value
            if isinstance(root, ast.Name) and modules.get(root.id, "").partition(".")[0] == "imggen_jax":
                found.add(".".join([modules[root.id], *names]))
    return found


def is_public(name: str) -> bool:
    """Whether an experiment may use a dotted name, such as "imggen_jax.data.take"."""
    _, first, second = (*name.split("."), "", "")[:3]
    if first in EXPORTING:
        return not second or second in importlib.import_module(f"imggen_jax.{first}").__all__
    if first in DOCUMENTED | ALONE:
        return not any(each.startswith("_") for each in name.split("."))
    return first in ("", "__all__", *imggen_jax.__all__) or name in ("imggen_jax.main", "imggen_jax.main.main")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT.parent)))
def test_experiments_use_the_public_api(path):
    assert not [name for name in sorted(used(parse(path))) if not is_public(name)]


def test_what_is_not_public_is_seen():
    text = ("import imggen_jax\nfrom imggen_jax import data, editing as e\nfrom imggen_jax.training import build\n"
            "import imggen_jax.metrics.frechet\nfrom imggen_jax import devices\n"
            "def f():\n    data.take(data.avatars.Avatars, e.space.check)\n    e.show(imggen_jax.api.Model)\n"
            "    devices._jit(imggen_jax.load('a').sample(num=1))\n")
    assert {name for name in used(ast.parse(text)) if not is_public(name)} == {
        "imggen_jax.data.avatars", "imggen_jax.data.avatars.Avatars", "imggen_jax.editing.space",
        "imggen_jax.editing.space.check", "imggen_jax.training.build", "imggen_jax.api", "imggen_jax.api.Model",
        "imggen_jax.devices._jit"}


def test_documented_modules_are_in_the_reference():
    pages = "".join(page.read_text() for page in (ROOT.parent / "docs" / "reference").glob("*.md"))
    assert all(f"::: imggen_jax.{name}\n" in pages for name in (DOCUMENTED | EXPORTING) - {"config", "patches"})


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) == "data"], ids=lambda path: path.name)
def test_data_is_read_without_jax(path):
    assert not {name.split(".")[0] for name in imported(parse(path))} & {"jax", "flax", "optax", "tensorflow"}


def test_only_what_is_declared_is_imported():
    """Distribution names of pyproject.toml that differ from the module's name stand here."""
    import tomllib

    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + [name for extra in ("open", "studio")
                                       for name in project["optional-dependencies"][extra]]
    declared = {re.split(r"[\[<>=]", name)[0].replace("-", "_") for name in named}
    modules = {{"absl_py": "absl", "orbax_checkpoint": "orbax", "pillow": "PIL", "c2pa_python": "c2pa"}.get(name, name)
               for name in declared}
    modules |= {"jaxlib", "starlette", "pydantic"}  # jax and fastapi require those of their own versions
    for path in MODULES:
        found = {name.split(".")[0] for name in imported(parse(path))} - set(sys.stdlib_module_names) - {"imggen_jax"}
        assert found <= modules, f"{path.name} imports {sorted(found - modules)}, which pyproject.toml does not declare"


def uses(name: str) -> set[str]:
    """Files in which a name or an attribute of this name is read or defined."""
    def named(node):
        return name in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))
    return {str(path.relative_to(ROOT)) for path in MODULES if any(named(node) for node in ast.walk(parse(path)))}


def test_there_is_one_training_step():
    defined = [path for path in MODULES for node in ast.walk(parse(path))
               if isinstance(node, ast.FunctionDef) and node.name == "train_step"]
    assert [path.name for path in defined] == ["step.py"]
    # The others look for latents, guide them, refine pixels, or learn a word for a model that is not changed.
    assert uses("apply_updates") == {"step.py", "inversion.py", "editing/targets.py", "patches/wasserstein.py",
                                     "prompting/personalizing.py"}
    assert uses("value_and_grad") == {"step.py"}
    assert uses("pmean") == {"step.py"}
