"""Every game at the smallest size that still has all of its parts, for the tests that say something about all games."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from imggen_jax import devices
from imggen_jax.config import check
from imggen_jax.game import Spec
from imggen_jax.training import build as building

SPEC = Spec(16, 1, 0)
LABELLED = Spec(16, 3, 4)


class Tiny(NamedTuple):
    players: tuple[str, ...]  # those that move
    variants: Callable        # spec -> {variant: config.game without its name}
    spec: Spec = SPEC         # the least that it can be played on


def _vae(spec: Spec) -> dict:
    del spec  # two widths suit every size from 16 to 64
    network = {"name": "vae", "widths": (4, 4), "blocks": (1, 0), "hidden": 8, "dense_blocks": 1}
    return {
        likelihood: {"latent": 3, "network": network, "likelihood": likelihood, "mixtures": 2, "beta": 1.0,
                     "free_bits": 0.0, "warmup": 100, "importance_samples": 1}
        for likelihood in ("bernoulli", "gaussian", "logistic_mixture")
    }


def _gan(spec: Spec) -> dict:
    dcgan = {
        "latent": 4, "mapping": 0,
        "generator": {"name": "dcgan", "width": 4, "norm": "batch"},
        "discriminator": {"name": "dcgan", "width": 4},
        "loss": "relativistic", "r1": 1.0, "r2": 1.0, "burn_in": 100, "penalty_final": 0.1,
        "gradient_penalty": 0.0, "critic_moves": 1,
        "augment": ("colour", "translation", "cutout"),
    }
    stages = {16: 3, 28: 3, 32: 4, 64: 5}[spec.size]
    r3gan = {"name": "r3gan", "widths": (4,) * stages, "blocks": (1,) * stages, "cardinality": (2,) * stages,
             "expansion": 2}
    plain = {**dcgan, "r1": 0.0, "r2": 0.0, "augment": ()}
    bare = {"name": "dcgan", "width": 4, "norm": "none"}
    decoder = _vae(spec)["gaussian"]["network"]
    return {
        "dcgan": dcgan,
        "r3gan": {**dcgan, "generator": r3gan, "discriminator": r3gan, "augment": ()},
        "non_saturating": {**plain, "generator": bare, "loss": "non_saturating", "r1": 1.0},
        "hinge": {**plain, "loss": "hinge", "mapping": 2},
        "wasserstein": {**plain, "latent": 3, "generator": decoder, "loss": "wasserstein", "gradient_penalty": 10.0,
                        "critic_moves": 2},
    }


def _classifier(spec: Spec) -> dict:
    del spec
    network = {"name": "classifier", "widths": (4, 8), "blocks": (1, 0), "features": 8}
    return {"plain": {"network": network, "augment": ()},
            "augmented": {"network": network, "augment": ("translation",)}}


# One entry for each module of imggen_jax/games; test_contracts fails where one is missing.
GAMES = {"vae": Tiny(("vae",), _vae), "gan": Tiny(("discriminator", "generator"), _gan),
         "classifier": Tiny(("classifier",), _classifier, Spec(16, 1, 2))}
VARIANTS = [(name, variant) for name, tiny in GAMES.items() for variant in tiny.variants(SPEC)]


def config(name: str, variant: str, spec: Spec = SPEC, *, batch: int = 8, flip: bool = True, dtype: str = "float32",
           engine: str = "jit", count: int = 1, steps_per_call: int = 5, **player) -> dict:
    """A whole config of a tiny game; `player` changes every player's optimizer."""
    tiny = GAMES[name]
    adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.5, "warmup": 0, "decay": "constant", "final": 1.0,
            "clip": 0.0, **player}
    return {
        "seed": 0,
        "data": {"name": "tiny", "folder": "", "split": "train", "test": "", "dir": "", "size": 0,
                 "label": "label" if spec.classes else "", "flip": flip, "memory": "resident"},
        "init": {"workdir": "", "freeze": ()},
        "game": {"name": name, **tiny.variants(spec)[variant]},
        "players": {who: dict(adam) for who in tiny.players},
        "train": {"images": 100_000, "batch": batch, "accumulate": 1, "dtype": dtype},
        "ema": {"halflife": 50, "rampup": 0.0},
        "devices": {"engine": engine, "count": count, "steps_per_call": steps_per_call},
        "log": {"every": 100, "evaluate": 100, "show": 100, "save": 100, "keep": 1, "keep_every": 0},
        "score": {"every": 0, "num": 20, "space": "classifier", "share": 1.0},
    }


def build(name: str, variant: str, spec: Spec = SPEC, **options) -> building.Built:
    return building.build(check(config(name, variant, spec, **options)), spec)


def pictures(spec: Spec, rounds: int, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Batches of smooth shapes: image uint8 [rounds,batch,S,S,C] and, with classes, label int32 [rounds,batch]."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, spec.classes or 2, (rounds, batch)).astype(np.int32)
    phase = rng.uniform(0, 2 * np.pi, (rounds, batch, 1, 1, spec.channels))
    x, y = np.meshgrid(*[np.linspace(0, 2 * np.pi, spec.size)] * 2)
    waves = np.sin((1 + label[..., None, None, None]) * x[..., None] + phase) * np.cos(y[..., None] + phase)
    image = np.round(127.5 + 127.5 * waves).astype(np.uint8)
    return {"image": image, **({"label": label} if spec.classes else {})}


def rounds(settings: dict, spec: Spec, calls: int) -> tuple[building.step.TrainState, dict]:
    """Play a config through its engine, on all processes there are: the state and the logs [rounds,...] on the host."""
    settings = check(settings)
    built = building.build(settings, spec)
    engine = devices.make(settings.devices.engine, building.check_devices(settings), built.play)
    state = engine.put_state(jax.jit(built.init)())
    per_call, mine = settings.devices.steps_per_call, settings.train.batch // jax.process_count()
    batches = pictures(spec, calls * per_call, settings.train.batch)
    logs = []
    for call in range(calls):
        rows = np.s_[call * per_call:(call + 1) * per_call, jax.process_index() * mine:(jax.process_index() + 1) * mine]
        state, log = engine.run(state, engine.put_batches({k: v[rows] for k, v in batches.items()}),
                                jax.random.key(settings.seed))
        logs.append(engine.fetch(log))
    return engine.fetch(state), jax.tree.map(lambda *x: np.concatenate(x), *logs)
