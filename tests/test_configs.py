"""Every shipped config: what it says of itself, that each key stands in it and is read, and how a wrong one fails."""
import ast
import copy
import functools
import inspect
import re
from pathlib import Path

import jax
import pytest
import tiny

import imggen_jax
from imggen_jax import config as configs
from imggen_jax import optim
from imggen_jax.config import check, differences, flatten, read, to_dict
from imggen_jax.errors import ConfigError
from imggen_jax.game import Spec
from imggen_jax.training.build import build, parameter_counts

ROOT = Path(imggen_jax.__file__).parent
SHIPPED = sorted((ROOT.parent / "configs").glob("*.py"))
SPECS = {"avatars/32x32": Spec(32, 3, 5), "avatars/64x64": Spec(64, 3, 5), "mnist": Spec(28, 1, 10),
         "stacked_mnist": Spec(32, 3, 1000), "cifar10": Spec(32, 3, 10),
         "": Spec(64, 3, 0)}  # of a folder, which its config does not name
shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


@functools.cache
def plain(path) -> dict:
    return to_dict(read(str(path)))


def spec_of(config) -> Spec:
    spec = SPECS[config["data"]["name"]]
    size = config["data"]["size"] or spec.size
    return Spec(size, spec.channels, spec.classes if config["data"]["label"] else 0)


def changed(config, where, value=None, remove=False) -> dict:
    """A copy with the key "a.b" set or removed."""
    config = copy.deepcopy(config)
    *sections, key = where.split(".")
    section = functools.reduce(dict.__getitem__, sections, config)
    if remove:
        del section[key]
    else:
        section[key] = value
    return config


def sections_of(config, prefix="") -> list[str]:
    found = [prefix]
    for key, value in config.items():
        if isinstance(value, dict):
            found += sections_of(value, f"{prefix}{key}.")
    return found


def test_there_are_the_promised_ones():
    assert {"avatars_vae", "avatars_gan", "avatars_vae_gan", "mnist_vae", "stacked_mnist_gan", "cifar10_vae",
            "cifar10_gan", "folder_vae", "folder_gan"} <= {path.stem for path in SHIPPED}


@shipped
def test_it_says_what_it_makes_and_how_it_is_run(path):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    lines = dict(re.findall(r"^(Makes|Expected|Hardware and time|Run|Data): (.+)$",
                            text.replace(" Expected:", "\nExpected:"), re.MULTILINE))
    assert {"Makes", "Expected", "Hardware and time", "Run"} <= set(lines)
    assert re.search(r"minute|hour|day", lines["Hardware and time"])
    assert f"python -m imggen_jax.main --config configs/{path.name}" in lines["Run"] or lines["Run"] == "make demo"


@shipped
def test_it_builds_for_its_data(path):
    settings = check(plain(path))
    spec = spec_of(plain(path))
    built = build(settings, spec)
    assert set(built.shape.opt) == set(settings.players)
    assert min(parameter_counts(built.shape.params).values()) > 1000
    generator = built.game.generator
    z = jax.eval_shape(functools.partial(generator.prior, n=2), jax.random.key(0))
    condition = jax.ShapeDtypeStruct((2,), "int32") if spec.classes else None
    images = jax.eval_shape(generator.decode, built.shape.average, z, condition)
    assert images.shape == (2, spec.size, spec.size, spec.channels)


@shipped
def test_every_interval_is_shorter_than_the_run(path):
    settings = check(plain(path))
    evaluates = build(settings, spec_of(plain(path))).game.evaluate is not None
    for name in ("every", "show", "save", *(["evaluate"] if evaluates else [])):
        assert getattr(settings.log, name) <= settings.train.images
    assert settings.score.every <= settings.train.images and settings.score.share <= 0.05


@shipped
def test_a_missing_key_is_named(path):
    config = plain(path)
    required = set(inspect.signature(optim.make).parameters)
    for where in [*flatten(config), *(name[:-1] for name in sections_of(config) if name)]:
        key = where.split(".")[-1]
        # What an optax optimizer takes beside those is its own affair, with its own defaults.
        if where.count(".") == 2 and where.startswith("players.") and key not in required:
            continue
        with pytest.raises(ConfigError, match=rf"\b{key}\b"):
            build(check(changed(config, where, remove=True)), spec_of(config))


@shipped
def test_a_key_that_nobody_reads_is_named(path):
    config = plain(path)
    for section in sections_of(config):
        with pytest.raises(ConfigError, match=r"\bdepht\b"):
            build(check(changed(config, f"{section}depht", 3)), spec_of(config))


def test_values_of_a_wrong_type_are_named():
    config = tiny.config("vae", "gaussian")
    for section, kind in configs.SECTIONS.items():
        for field in kind._fields:
            for wrong in (None, [1], {"a": 1}):
                with pytest.raises(ConfigError, match=rf"config\.{section}\.{field} must be of type"):
                    check(changed(config, f"{section}.{field}", wrong))
    for where, wrong, kind in (("train.batch", 8.0, "int, not float"), ("train.batch", True, "int, not bool"),
                               ("data.flip", 1, "bool, not int"), ("data.name", 3, "str, not int"),
                               ("ema.rampup", True, "float, not bool"), ("seed", "0", "int, not str")):
        with pytest.raises(ConfigError, match=rf"config\.{where} must be of type {kind}"):
            check(changed(config, where, wrong))
    assert check(changed(config, "ema.rampup", 1)).ema.rampup == 1
    for where in ("data", "game", "players", "players.vae"):
        with pytest.raises(ConfigError, match=rf"config\.{where} must be (of type|a) section"):
            check(changed(config, where, 3))


@pytest.mark.parametrize(("where", "value", "message"), [
    ("train.images", 0, "config.train.images is 0; it must be at least 1"),
    ("train.batch", -4, "config.train.batch is -4"),
    ("ema.rampup", -0.1, "config.ema.rampup is -0.1"),
    ("devices.count", -1, "config.devices.count is -1"),
    ("ema.rampup", float("nan"), "config.ema.rampup is nan; it must be a finite number"),
    ("players.vae.learning_rate", float("inf"), "config.players.vae.learning_rate is inf; it must be a finite number"),
    ("ema.halflife", 10**20, f"config.ema.halflife is {10**20}; it must fit into 64 bits"),
    ("train.dtype", b"float32", "config.train.dtype is of type bytes .* a config holds numbers, strings"),
    ("init.freeze", ("vae.*", b"x"), "config.init.freeze is of type tuple .* a config holds numbers, strings"),
    ("seed", -1, "config.seed is -1"),
    ("train.dtype", "float64", "unknown config.train.dtype 'float64'; choose float32 or bfloat16"),
    ("init.freeze", "vae.encoder.*", "config.init.freeze must be of type list, not str"),
    ("init.freeze", ("vae.encodr.*",), "config.init.freeze: 'vae.encodr.\\*' is no parameter; write such as "
                                       "vae.decoder.Block_0.Dense_0.\\*, of the layers vae.decoder.Block_0"),
    ("init.freeze", ("vae.encoder.*", "*"), "config.init.freeze leaves no parameter of any player to be trained"),
    ("data.memory", "disk", "unknown config.data.memory 'disk'; choose one of auto, resident, stream"),
    ("game.name", "vea", "unknown config.game.name 'vea'"),
    ("data.folder", "here", "config.data.name is 'tiny' and config.data.folder is 'here'; set one of them"),
    ("seed", 2**32, "config.seed is 4294967296; it must be from 0 to 4294967295"),
    ("game.name", 3, "config.game.name must be of type str, not int"),
    ("game.likelihood", "poisson", "config.game: unknown likelihood 'poisson'"),
    ("game.network.name", "unet", "config.game: .*unet"),
    ("game.network.name", "dcgan", "config.game: .*dcgan"),
    ("game.latent", "x", "config.game.latent must be of type int, not str"),
    ("game.beta", True, "config.game.beta must be of type float, not bool"),
    ("game.network", 3, "config.game.network must be of type section, not int"),
    ("game.network.hidden", "x", "config.game"),
    ("players.vae.optimizer", "adma", "config.players.vae: optax has no optimizer 'adma'"),
    ("players.vae.decay", "exp", "config.players.vae: unknown decay 'exp'"),
    ("players.vae.learning_rate", "x", "config.players.vae.learning_rate must be of type float, not str"),
    ("players.vae.b1", "x", "config.players.vae"),
    ("players.other", {}, "config.players has .*'other'"),
])
def test_a_value_that_cannot_be_is_one_clear_line(where, value, message):
    config = changed(tiny.config("vae", "gaussian"), where, value)
    with pytest.raises(ConfigError, match=message) as error:
        build(check(config), tiny.SPEC)
    assert "\n" not in str(error.value)


def test_a_size_that_the_network_cannot_make_is_named():
    with pytest.raises(ConfigError, match="config.game: network vae cannot make 18x18 images"):
        build(check(tiny.config("vae", "gaussian")), Spec(18, 1, 0))


def reads(tree: ast.AST) -> set[str]:
    """"section.key" for every section's key that a module reads, directly or through a local name for the section."""
    def tail(node):
        return node.attr if isinstance(node, ast.Attribute) else None

    names, found = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts) if both else [(target, node.value)]
                for name, section in pairs:
                    if isinstance(name, ast.Name) and tail(section) in configs.SECTIONS:
                        names.setdefault(name.id, set()).add(tail(section))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    def sections(node):
        return {tail(node)} if tail(node) else names.get(getattr(node, "id", None), set())

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= {f"{section}.{node.attr}" for section in sections(node.value)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "getattr":
            found |= {f"{section}.{name}" for section in sections(node.args[0]) for name in strings}
    return found


def test_every_key_of_every_section_is_read():
    readers = [path for path in ROOT.rglob("*.py") if path.name != "config.py"]
    found = set().union(*(reads(ast.parse(path.read_text())) for path in readers))
    for section, kind in configs.SECTIONS.items():
        assert {f"{section}.{key}" for key in kind._fields} <= found


def test_the_reader_sees_what_is_read_and_no_more():
    text = ("a, wanted = settings.train.batch, settings.log\nwanted.keep\n"
            "{n: getattr(wanted, n) for n in ('every', 'show')}\nsettings.data.size\nother.dir\n")
    every = {f"{section}.{key}" for section, kind in configs.SECTIONS.items() for key in kind._fields}
    assert reads(ast.parse(text)) & every == {"train.batch", "log.keep", "log.every", "log.show", "data.size"}


def test_every_argument_of_a_game_and_of_the_optimizer_is_read():
    paths = [*(ROOT / "games").glob("*.py"), ROOT / "optim.py"]
    makers = [node for path in paths for node in ast.parse(path.read_text()).body
              if isinstance(node, ast.FunctionDef) and node.name == "make"]
    assert len(makers) == len(tiny.GAMES) + 1
    for maker in makers:
        used = {node.id for statement in maker.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        assert {argument.arg for argument in maker.args.args + maker.args.kwonlyargs} <= used


def test_overrides_are_read_as_the_type_of_their_key():
    path = str(ROOT.parent / "configs" / "demo.py")
    config = read(path, ["--config.train.batch=32", "--config.data.name=mnist", "--config.data.flip=true",
                         "--config.ema.rampup=0.25", "--config.game.latent=7", "--config.players.vae.clip=1"])
    found = config.train.batch, config.data.name, config.data.flip, config.ema.rampup, config.game.latent
    assert found == (32, "mnist", True, 0.25, 7) and config.players.vae.clip == 1.0
    untouched = {"train.batch", "data.name", "data.flip", "ema.rampup", "game.latent", "players.vae.clip"}
    before = flatten(plain(Path(path)))
    assert {key for key, value in flatten(to_dict(config)).items() if value != before[key]} <= untouched


@pytest.mark.parametrize(("word", "message"), [
    ("--config.train.bathc=32", "bathc"),
    ("--config.train.batch=many", "batch"),
    ("--config.train.batch=1.5", "batch"),
    ("--config.data.flip=perhaps", "flip"),
    ("--batch=32", "batch"),
    ("train.batch=32", "unexpected argument 'train.batch=32'; overrides look like --config.train.batch=32"),
])
def test_a_wrong_override_is_one_line_that_names_it(word, message):
    with pytest.raises(ConfigError, match=message) as error:
        read(str(ROOT.parent / "configs" / "demo.py"), [word])
    assert "\n" not in str(error.value)


def test_a_config_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(ConfigError, match="config file 'nowhere.py' not found"):
        read("nowhere.py")
    broken = tmp_path / "broken.py"
    for text in ("def get_config(:\n", "raise RuntimeError('no')\n", "x = 1\n", "import nothing_of_this_name\n"):
        broken.write_text(text)
        with pytest.raises(ConfigError, match="broken.py") as error:
            read(str(broken))
        assert "\n" not in str(error.value)


def test_a_variant_imports_its_parent_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read(str(ROOT.parent / "configs" / "cifar10_gan_small.py")).game.loss == "relativistic"


def test_differences_lists_what_would_be_computed_otherwise():
    old = tiny.config("vae", "gaussian")
    assert differences(old, copy.deepcopy(old)) == []
    # How long, where, how often, on what and where the data lie may change.
    new = copy.deepcopy(old)
    new["train"]["images"], new["log"]["save"], new["devices"]["count"], new["data"]["dir"] = 1, 2, 3, "elsewhere"
    new["data"]["memory"] = "stream"
    new["data"]["folder"] = "there"
    assert differences(old, new) == []
    new["train"]["batch"], new["game"]["network"]["widths"], new["seed"] = 16, (4, 8), 1
    del new["players"]["vae"]["b1"]
    new["game"]["more"] = "x"
    assert differences(old, new) == [
        "game.more: 'not set' there, 'x' here", "game.network.widths: [4, 4] there, [4, 8] here",
        "players.vae.b1: 0.5 there, 'not set' here", "seed: 0 there, 1 here", "train.batch: 8 there, 16 here",
    ]
