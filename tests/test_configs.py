"""Every shipped config: what it says of itself, that each key stands in it and is read, and how a wrong one fails."""
import ast
import copy
import functools
import re
import runpy
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny

import imggen_jax
from imggen_jax import config as configs
from imggen_jax.config import changes, check, differences, flatten, merge, read, resolve, schema, to_dict
from imggen_jax.config.values import defaults
from imggen_jax.errors import ConfigError
from imggen_jax.game import Field, Pretrained, Spec
from imggen_jax.training.build import Built, build, parameter_counts

ROOT = Path(imggen_jax.__file__).parent
SHIPPED = sorted((ROOT.parent / "configs").glob("*.py"))
# Dataset -> side, channels, classes
DATASETS = {"avatars/32x32": (32, 3, 5), "avatars/64x64": (64, 3, 5), "mnist": (28, 1, 10),
            "stacked_mnist": (32, 3, 1000), "cifar10": (32, 3, 10),
            "": (64, 3, 0)}  # of a folder, which its config does not name
shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


@functools.cache
def plain(path) -> dict:
    return to_dict(read(str(path)))


def spec_of(config) -> Spec:
    size, channels, classes = DATASETS[config["data"]["name"]]
    size = config["data"]["crop"] or config["data"]["size"] or size
    pairs = {"source": Field((size, size, channels), "uint8")} if config["data"]["source"] else {}
    text = {"text": Field((32,), "int32", tiny.WORDS)} if config["data"]["text"] else {}
    return tiny.spec_of(size, channels, classes if config["data"]["label"] else 0, **pairs, **text)


def stand_ins(config) -> dict[str, Pretrained]:
    """Of the pretrained networks of a config, such as have the right shapes."""
    encoded = {"encode": lambda weights, images, condition: jnp.zeros((len(images), 96)),
               "decode": lambda weights, z, condition, options: jnp.zeros((len(z), 64, 64, 3))}
    assert set(config["pretrained"]) <= {"autoencoder"}
    return {name: Pretrained({}, encoded, "stand-in") for name in config["pretrained"]}


@functools.cache
def built_of(path) -> Built:
    """What a shipped config builds, for several tests."""
    return build(check(plain(path)), spec_of(plain(path)), stand_ins(plain(path)))


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
    assert f"imggen train --config {path.stem}" in lines["Run"] or lines["Run"] == "make demo"


@shipped
def test_it_builds_for_its_data(path):
    settings, spec, built = check(plain(path)), spec_of(plain(path)), built_of(path)
    assert set(built.shape.opt) == set(settings.players)
    assert min(parameter_counts(built.shape.params).values()) > 1000
    generator = built.game.main
    fields = {name: jax.ShapeDtypeStruct((2, *built.spec[name].shape), built.spec[name].dtype)
              for name in generator.needs}
    weights = {**built.shape.average, **built.pretrained}
    condition = jax.eval_shape(generator.condition, weights, fields)
    z = jax.eval_shape(lambda key, c: generator.prior(key, 2, c), jax.random.key(0), condition)
    images = jax.eval_shape(lambda *args: generator.decode(*args, {}), weights, z, condition)
    assert images.shape == (2, *built.spec["image"].shape) and ("label" in spec) == ("label" in generator.needs)


@shipped
def test_every_interval_is_shorter_than_the_run(path):
    settings = check(plain(path))
    evaluates = built_of(path).game.metrics is not None
    for name in ("every", "show", "save", *(["evaluate"] if evaluates else [])):
        assert getattr(settings.log, name) <= settings.train.images
    assert settings.score.every <= settings.train.images and settings.score.share <= 0.05


@shipped
def test_it_states_only_what_it_changes(path):
    stated = flatten(to_dict(runpy.run_path(str(path))["get_config"]()))
    default = flatten({name: defaults(kind) for name, kind in configs.SECTIONS.items()})
    parents = "import get_config as parent" in path.read_text()
    same = {key for key, value in stated.items() if key in default and default[key] == value and not parents}
    assert same <= {"train.images"}  # every config says how long it takes
    assert len(path.read_text().split('"""')[2].strip().splitlines()) <= 25


@shipped
def test_resolving_changes_nothing_that_is_stated_and_adds_every_default(path):
    stated, full = flatten(to_dict(runpy.run_path(str(path))["get_config"]())), flatten(plain(path))
    assert {key: full[key] for key in stated} == stated
    assert set(flatten({name: defaults(kind) for name, kind in configs.SECTIONS.items()})) <= set(full)
    assert resolve(full_config := plain(path)) == full_config
    players = {name.split(".")[1] for name in full if name.startswith("players.")}
    for player in players:
        assert {f"players.{player}.{key}" for key in (*defaults(configs.Player), "b1", "b2", "eps")} <= set(full)
    assert ("game.beta" in full) == (full["game.name"] == "vae") and ("game.latent" in full) == (
        full["game.name"] in ("vae", "gan"))


@shipped
def test_a_key_that_nobody_reads_is_named(path):
    config = plain(path)
    for section in sections_of(config):
        if section != "pretrained.":
            with pytest.raises(ConfigError, match=r"\bdepht\b"):
                build(check(changed(config, f"{section}depht", 3)), spec_of(config))


def test_the_nearest_key_of_the_section_is_suggested():
    config = tiny.config("vae", "gaussian")
    for where, message in (("train.bathc", "config.train.bathc; did you mean batch?"),
                           ("trian", "config.trian; did you mean train?"),
                           ("game.latnet", "config.game.latnet; did you mean latent?"),
                           ("players.vae.lerning_rate", "config.players.vae.lerning_rate; did you mean learning_rate?"),
                           ("players.vae.esp", "config.players.vae.esp; did you mean eps?")):
        with pytest.raises(ConfigError, match=re.escape(f"unknown key {message}")):
            check(changed(config, where, 3))


def test_a_key_without_a_default_is_required():
    for where in ("game.name", "game.network"):
        with pytest.raises(ConfigError, match=f"config.{where} is missing"):
            check(changed(tiny.config("vae", "gaussian"), where, remove=True))
    config = tiny.config("vae", "gaussian")
    for where in ("seed", "data", "train.batch", "game.beta", "players.vae.clip", "score"):
        check(changed(config, where, remove=True))
    assert check(changed(config, "train", remove=True)).train == configs.Train()


def test_every_key_of_the_schema_has_a_docstring():
    for kind in (*configs.SECTIONS.values(), configs.Player):
        body = next(node for node in ast.parse(Path(schema.__file__).read_text()).body
                    if isinstance(node, ast.ClassDef) and node.name == kind.__name__).body
        for position, node in enumerate(body):
            if isinstance(node, ast.AnnAssign):
                after = body[position + 1] if position + 1 < len(body) else None
                assert isinstance(after, ast.Expr) and isinstance(after.value.value, str), (kind, node.target.id)
        assert kind.__doc__


def test_values_of_a_wrong_type_are_named():
    config = tiny.config("vae", "gaussian")
    for section, kind in configs.SECTIONS.items():
        for field in defaults(kind):
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
    ("train.dtype", "float64", "unknown config.train.dtype 'float64'; choose one of 'float32', 'bfloat16'"),
    ("init.freeze", "vae.encoder.*", "config.init.freeze must be of type list, not str"),
    ("init.freeze", ("vae.encodr.*",), "config.init.freeze: 'vae.encodr.\\*' is no parameter; write such as "
                                       "vae.decoder.Block_0.Dense_0.\\*, of the layers vae.decoder.Block_0"),
    ("init.freeze", ("vae.encoder.*", "*"), "config.init.freeze leaves no parameter of any player to be trained"),
    ("data.memory", "disk", "unknown config.data.memory 'disk'; choose one of 'auto', 'resident', 'stream'"),
    ("game.name", "vea", "unknown config.game.name 'vea'"),
    ("data.folder", "here", "config.data.name is 'tiny' and config.data.folder is 'here'; set one of them"),
    ("seed", 2**32, "config.seed is 4294967296; it must be from 0 to 4294967295"),
    ("game.name", ["vae"], "config.game.name must be of type str, not list"),
    ("players.vae.optimizer", ["adam"], "config.players.vae.optimizer must be of type str, not list"),
    ("game.name", 3, "config.game.name must be of type str, not int"),
    ("game.likelihood", "poisson", "config.game: unknown likelihood 'poisson'"),
    ("game.network.name", "unet", "config.game: .*unet"),
    ("game.network.name", "dcgan", "config.game: .*dcgan"),
    ("game.latent", "x", "config.game.latent must be of type int, not str"),
    ("game.beta", True, "config.game.beta must be of type float, not bool"),
    ("game.network", 3, "config.game.network must be of type section, not int"),
    ("game.network.hidden", "x", "config.game"),
    ("players.vae.optimizer", "adma", "config.players.vae.optimizer: optax has no optimizer 'adma'"),
    ("players.vae.decay", "exp", "unknown config.players.vae.decay 'exp'; choose one of 'constant', 'cosine'"),
    ("players.vae.learning_rate", -1e-3, "config.players.vae.learning_rate is -0.001; it must be at least 0"),
    ("players.vae.clip", -1, "config.players.vae.clip is -1.0; it must be at least 0"),
    ("data.pairs", "sides", "unknown config.data.pairs 'sides'; choose one of '', 'side-by-side'"),
    ("data.text", "bytes", "config.data.text is 'bytes'; write such as 'bytes:128'"),
    ("data.text", "words:0", "config.data.text is 'words:0'"),
    ("data.crop", -1, "config.data.crop is -1; it must be at least 0"),
    ("data.fields", ("source", 3), "config.data.fields must be of type list of str; 3 is not one"),
    ("pretrained", {"features": "inception"}, "config.pretrained.features must be of type section, not str"),
    ("pretrained", {"features": {}}, "config.pretrained.features must have one of two keys"),
    ("pretrained", {"features": {"weights": "a", "workdir": "b"}}, "config.pretrained.features must have one of two"),
    ("pretrained", {"features": {"wieghts": "a"}}, "config.pretrained.features.wieghts; did you mean weights"),
    ("players.vae.learning_rate", "x", "config.players.vae.learning_rate must be of type float, not str"),
    ("players.vae.b1", "x", "config.players.vae"),
    ("players.vae.eps", float("nan"), "config.players.vae.eps is nan; it must be a finite number"),
    ("players.other", {}, "config.players has .*'other'"),
])
def test_a_value_that_cannot_be_is_one_clear_line(where, value, message):
    config = changed(tiny.config("vae", "gaussian"), where, value)
    with pytest.raises(ConfigError, match=message) as error:
        build(check(config), tiny.SPEC)
    assert "\n" not in str(error.value)


def test_a_size_that_the_network_cannot_make_is_named():
    with pytest.raises(ConfigError, match="config.game: network vae cannot make 18x18 images"):
        build(check(tiny.config("vae", "gaussian")), tiny.spec_of(18, 1))


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


UNREAD = {"data.text", "data.crop", "data.fields", "data.pairs"}  # declared ahead of the datasets that read them


def test_every_key_of_every_section_is_read():
    readers = [path for path in ROOT.rglob("*.py") if path.parent.name not in ("config", "configs")]
    found = set().union(*(reads(ast.parse(path.read_text())) for path in readers))
    for section, kind in configs.SECTIONS.items():
        assert {f"{section}.{key}" for key in defaults(kind)} <= found | UNREAD


def test_the_reader_sees_what_is_read_and_no_more():
    text = ("a, wanted = settings.train.batch, settings.log\nwanted.keep\n"
            "{n: getattr(wanted, n) for n in ('every', 'show')}\nsettings.data.size\nother.dir\n")
    every = {f"{section}.{key}" for section, kind in configs.SECTIONS.items() for key in defaults(kind)}
    assert reads(ast.parse(text)) & every == {"train.batch", "log.keep", "log.every", "log.show", "data.size"}


def test_every_argument_of_a_game_and_of_the_optimizer_is_read():
    paths = [*(ROOT / "games").glob("*.py"), ROOT / "optim.py"]
    makers = [node for path in paths for node in ast.parse(path.read_text()).body
              if isinstance(node, ast.FunctionDef) and node.name == "make"]
    assert len(makers) == len([name for name in tiny.GAMES if "." not in name]) + 1
    for maker in makers:
        used = {node.id for statement in maker.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        assert {argument.arg for argument in maker.args.args + maker.args.kwonlyargs} <= used


def test_overrides_are_read_as_the_type_of_their_key():
    config = read("demo", ["--config.train.batch=32", "--config.data.name=mnist", "--config.data.flip=true",
                           "--config.ema.rampup=0.25", "--config.game.latent=7", "--config.players.vae.clip=1"])
    found = config.train.batch, config.data.name, config.data.flip, config.ema.rampup, config.game.latent
    assert found == (32, "mnist", True, 0.25, 7) and config.players.vae.clip == 1.0
    untouched = {"train.batch", "data.name", "data.flip", "ema.rampup", "game.latent", "players.vae.clip"}
    before = flatten(to_dict(read("demo")))
    assert {key for key, value in flatten(to_dict(config)).items() if value != before[key]} <= untouched


def test_keys_that_the_file_does_not_name_can_be_overridden(tmp_path):
    path = tmp_path / "short.py"
    path.write_text("def get_config():\n"
                    "    return {'game': {'name': 'vae', 'network': {'name': 'vae'}}, 'players': {'vae': {}}}\n")
    config = read(str(path), ["--config.train.batch=32", "--config.init.freeze=a", "--config.init.freeze=b",
                              "--config.game.beta=2", "--config.game.network.name=dcgan", "--config.data.text=words:8",
                              "--config.players.vae.eps=1e-6", "--config.pretrained.features.weights=inception"])
    assert config.train.batch == 32 and config.init.freeze == ("a", "b") and config.data.text == "words:8"
    assert config.game.beta == 2.0 and config.game.network.name == "dcgan" and config.players.vae.eps == 1e-6
    assert check(config).pretrained == {"features": {"weights": "inception"}}
    # An option whose default is None, and those of another optimizer or game than the file's.
    config = read(str(path), ["--config.players.vae.optimizer=sgd", "--config.players.vae.momentum=0.9"])
    assert check(config).players["vae"]["momentum"] == 0.9 and "b1" not in config.players.vae
    assert read(str(path), ["--config.game.name=gan"]).game.critic_moves == 1


@pytest.mark.parametrize(("word", "message"), [
    ("--config.train.bathc=32", r"unknown key config\.train\.bathc; did you mean batch\?"),
    ("--config.trian.batch=32", r"unknown key config\.trian; did you mean train\?"),
    ("--config.game.latnet=32", r"unknown key config\.game\.latnet; did you mean latent\?"),
    ("--config.players.vea.clip=1", r"unknown key config\.players\.vea; did you mean vae\?"),
    ("--config.players.vae.clp=1", r"unknown key config\.players\.vae\.clp; did you mean clip\?"),
    ("--config.train.batch.size=1", "config.train.batch is a value, not a section"),
    ("--config.train.batch=many", "config.train.batch must be of type int, not 'many'"),
    ("--config.train.batch=1.5", "config.train.batch must be of type int, not '1.5'"),
    ("--config.data.flip=perhaps", "config.data.flip must be of type bool, not 'perhaps'"),
    ("--config.game.network=3", "config.game.network must be of type section, not '3'"),
    ("--config.train.batch", "Missing value for flag --config.train.batch"),
    ("--batch=32", "batch"),
    ("train.batch=32", "unexpected argument 'train.batch=32'; overrides look like --config.train.batch=32"),
])
def test_a_wrong_override_is_one_line_that_names_it(word, message):
    with pytest.raises(ConfigError, match=message) as error:
        read("demo", [word])
    assert "\n" not in str(error.value)


def test_a_config_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(ConfigError, match="config file 'nowhere.py' not found; shipped configs are avatars_auto"):
        read("nowhere.py")
    with pytest.raises(ConfigError, match="config file 'avatar_vae' not found; did you mean avatars_vae?"):
        read("avatar_vae")
    broken = tmp_path / "broken.py"
    for text in ("def get_config(:\n", "raise RuntimeError('no')\n", "x = 1\n", "import nothing_of_this_name\n",
                 "def get_config():\n    return 3\n", "def get_config():\n    raise SystemError\n"):
        broken.write_text(text)
        with pytest.raises(ConfigError, match="broken.py") as error:
            read(str(broken))
        assert "\n" not in str(error.value)


def test_a_shipped_config_is_found_by_its_name_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert list(configs.shipped()) == [path.stem for path in SHIPPED]
    assert read("cifar10_gan_small").game.generator.name == "dcgan"
    # A file of that name comes first.
    Path("demo").write_text("def get_config():\n    return {'seed': 5}\n")
    assert read("demo").seed == 5


def test_a_copied_config_still_finds_its_parent(tmp_path):
    copy = shutil.copy(ROOT.parent / "configs" / "cifar10_gan_small.py", tmp_path / "mine.py")
    assert to_dict(read(str(copy))) == to_dict(read("cifar10_gan_small"))
    child = tmp_path / "child.py"
    child.write_text("import mine\n\n\ndef get_config():\n    return mine.get_config()\n")
    assert to_dict(read(str(child))) == to_dict(read("cifar10_gan_small"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text("def get_config():\n    return {'seed': 5}\n")
    assert read(shutil.copy(child, tmp_path / "other" / "child.py")).seed == 5
    child.write_text("from configs.parent import get_config\n")
    with pytest.raises(ConfigError, match="child.py imports 'configs.*import a shipped config as imggen_jax.configs"):
        read(str(child))


def test_merge_replaces_values_section_by_section_and_changes_neither():
    base, change = {"a": 1, "b": {"c": 2, "d": (3,)}}, {"b": {"d": (4,), "e": {"f": 5}}, "a": {"g": 6}}
    kept = copy.deepcopy([base, change])
    assert merge(base, change) == {"a": {"g": 6}, "b": {"c": 2, "d": (4,), "e": {"f": 5}}}
    assert [base, change] == kept


def test_differences_lists_what_a_run_must_not_change_and_changes_what_it_may():
    old = tiny.config("vae", "gaussian")
    assert differences(old, copy.deepcopy(old)) == changes(old, copy.deepcopy(old)) == []
    new = copy.deepcopy(old)
    new["train"]["images"], new["log"]["save"], new["devices"]["count"], new["data"]["dir"] = 1, 2, 3, "elsewhere"
    new["data"]["memory"], new["data"]["folder"], new["score"]["num"] = "stream", "there", 50
    new["players"]["vae"] |= {"learning_rate": 1e-4, "warmup": 8, "decay": "linear", "final": 0.5, "clip": 2.0}
    old["players"]["vae"]["clip"] = 1.0
    assert differences(old, new) == []
    assert changes(old, new) == [
        "data.dir: '' before, 'elsewhere' now", "data.folder: '' before, 'there' now",
        "data.memory: 'resident' before, 'stream' now", "devices.count: 1 before, 3 now",
        "log.save: 100 before, 2 now", "players.vae.clip: 1.0 before, 2.0 now",
        "players.vae.decay: 'constant' before, 'linear' now", "players.vae.final: 1.0 before, 0.5 now",
        "players.vae.learning_rate: 0.001 before, 0.0001 now", "players.vae.warmup: 0 before, 8 now",
        "score.num: 20 before, 50 now", "train.images: 100000 before, 1 now",
    ]
    allowed = changes(old, new)
    new["train"]["batch"], new["game"]["network"]["widths"], new["seed"] = 16, (4, 8), 1
    del new["players"]["vae"]["b1"]
    new["game"]["more"] = "x"
    assert differences(old, new) == [
        "game.more: 'not set' before, 'x' now", "game.network.widths: [4, 4] before, [4, 8] now",
        "players.vae.b1: 0.5 before, 0.9 now", "seed: 0 before, 1 now", "train.batch: 8 before, 16 now",
    ]
    assert changes(old, new) == allowed
    # Whether there is clipping at all decides what the optimizer remembers.
    old["players"]["vae"]["clip"] = 0.0
    assert "players.vae.clip: 0.0 before, 2.0 now" in differences(old, new)


def test_a_run_of_before_a_key_was_declared_has_its_default():
    old = to_dict(read("demo"))
    new = copy.deepcopy(old)
    del old["pretrained"], old["data"]["crop"], old["players"]["vae"]["eps"]
    assert differences(old, new) == changes(old, new) == []
