"""Every game at the smallest size that still has all of its parts, for the tests that say something about all games.

Two of them are toys that only tests contain, tests/toys: they prove that a new kind of model costs one file.
"""
from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import devices
from imggen_jax import spec as specs
from imggen_jax.config import check
from imggen_jax.game import Clock, Field, Game, Pretrained, Spec, make_spec
from imggen_jax.training import build as building


def spec_of(size: int, channels: int, classes: int = 0, **more: Field) -> Spec:
    """Square images, with a label where there are classes."""
    label = {"label": Field((), "int32", tuple(f"class {i}" for i in range(classes)))} if classes else {}
    return make_spec(image=Field((size, size, channels), "uint8"), **label, **more)


SPEC = spec_of(16, 1)
LABELED = spec_of(16, 3, 4)
WORDS = ("a", "blue", "red", "cat", "dog")
TRANSLATED = spec_of(16, 3, source=Field((16, 16, 3), "uint8"), mask=Field((16, 16, 1), "uint8"))
ENLARGED = spec_of(16, 3, source=Field((8, 8, 3), "uint8"))
TEXTS = spec_of(16, 3, text=Field((6,), "int32", WORDS))
TOLD = spec_of(16, 3, 4, text=Field((6,), "int32", WORDS))


class Tiny(NamedTuple):
    players: tuple[str, ...]  # those that move
    variants: Callable        # spec -> {variant: config.game without its name}
    specs: tuple[Spec, ...]   # that it is played on, the richest one last
    alone: tuple[str, ...] = ()  # variants in which only the last player moves

    def movers(self, variant: str) -> tuple[str, ...]:
        """Those that move in a variant."""
        return self.players[-1:] if variant in self.alone else self.players


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
        "augment": ("color", "translation", "cutout"),
    }
    stages = {16: 3, 28: 3, 32: 4, 64: 5}[specs.square(spec)[0]]
    r3gan = {"name": "r3gan", "widths": (4,) * stages, "blocks": (1,) * stages, "cardinality": (2,) * stages,
             "expansion": 2}
    plain = {**dcgan, "r1": 0.0, "r2": 0.0, "augment": ()}
    bare = {"name": "dcgan", "width": 4, "norm": "none"}
    decoder = _vae(spec)["gaussian"]["network"]
    return {
        "dcgan": dcgan,
        "r3gan": {**dcgan, "generator": r3gan, "discriminator": r3gan, "augment": ()},
        "non_saturating": {**plain, "generator": bare, "loss": "non_saturating", "r1": 1.0},
        "hinge": {**plain, "loss": "hinge", "mapping": 2, "augment": ("geometry", "recolor", "erase"),
                  "augment_target": 0.6},
        "wasserstein": {**plain, "latent": 3, "generator": decoder, "loss": "wasserstein", "gradient_penalty": 10.0,
                        "critic_moves": 2},
    }


def _classifier(spec: Spec) -> dict:
    del spec
    network = {"name": "classifier", "widths": (4, 8), "blocks": (1, 0), "features": 8}
    return {"plain": {"network": network, "augment": ()},
            "augmented": {"network": network, "augment": ("translation",)}}


UNET = {"name": "unet", "widths": (4, 8), "norm": "instance"}
PATCHGAN = {"name": "patchgan", "width": 4, "halvings": 2}


def _paired(spec: Spec) -> dict:
    del spec
    bare = {**UNET, "norm": "none"}
    return {"unet": {"generator": bare, "discriminator": PATCHGAN, "l1": 10.0, "loss": "relativistic"},
            "l1": {"generator": UNET}}


def _inpaint(spec: Spec) -> dict:
    del spec
    return {"patches": {"generator": UNET, "discriminator": {**PATCHGAN, "norm": "instance"},
                        "loss": "least_squares", "r1": 0.0, "r2": 0.0}}


def _unpaired(spec: Spec) -> dict:
    del spec
    networks = {"generator": {"name": "resnet", "width": 4, "halvings": 1, "blocks": 1}, "discriminator": PATCHGAN}
    return {"cut": {**networks, "patches": 16, "heads": 4},
            "cyclegan": {**networks, "method": "cyclegan", "pool": 10}}


def _restore(spec: Spec) -> dict:
    del spec
    network = {"name": "restoration", "width": 4, "blocks": 1}
    return {"l1": {"network": network, "scale": 2, "frequency": 0.05},
            "adversary": {"network": network, "scale": 2, "adversary": PATCHGAN}}


def _watermark(spec: Spec) -> dict:
    del spec
    return {"bits": {"encoder": {"name": "marker", "width": 8, "blocks": 1, "cells": 2}, "strength": (120.0, 60.0),
                     "decoder": {"name": "classifier", "widths": (16,), "blocks": (1,), "features": 16}, "bits": 2,
                     "handled": 0.0}}  # what JPEG rounds, a last bit can tip: no two numbers of devices would agree


def _flow(spec: Spec) -> dict:
    del spec
    told = {"condition": {"width": 8, "layers": 1, "heads": 2}, "steps": 3}
    return {"pixels": {"network": {"name": "unet_flow", "patch": 2, "widths": (4, 8), "blocks": (1, 1), "heads": 2},
                       **told, "shift": 2.0},
            "latents": {"network": {"name": "dit", "patch": 2, "width": 8, "layers": 1, "heads": 2}, **told,
                        "prediction": "picture", "mean": -0.8, "deviation": 0.8}}


def _autoencoder(spec: Spec) -> dict:
    del spec
    network = {"name": "spatial", "widths": (4, 8), "blocks": (1, 0)}
    return {"judged": {"network": network, "latents": 3, "discriminator": PATCHGAN, "begin": 100}}


def toy_autoencoder() -> Pretrained:
    """What stands in for a trained autoencoder: means of 4x4 patches beside their weighted mean, and back."""
    def encode(weights, images, condition):
        del condition
        small = images.reshape(len(images), 4, images.shape[1] // 4, 4, images.shape[2] // 4, -1).mean((2, 4))
        return 9 * jnp.concatenate([small, small @ weights["mix"]], axis=-1) + 1

    def decode(weights, z, condition, options):
        del weights, condition, options
        return ((z[..., :-1] - 1) / 9).repeat(4, axis=1).repeat(4, axis=2)

    return Pretrained({"mix": jnp.array([[0.5], [0.3], [-0.2]])}, {"encode": encode, "decode": decode}, "toy")


def networks(name: str, variant: str) -> dict[str, Pretrained]:
    """The pretrained networks of a variant."""
    return {"autoencoder": toy_autoencoder()} if (name, variant) == ("flow", "latents") else {}


def _toy(spec: Spec) -> dict:
    del spec
    return {"plain": {}}


# An optimizer whose rounds do not amplify rounding: Adam divides by the size of a gradient, so where a gradient is
# nothing but rounding it makes a whole step of it, unless its eps is larger than that.
STEADY = {"learning_rate": 1e-3, "eps": 1e-3}

# One entry for each module of imggen_jax/games, and the toys; test_contracts fails where one is missing.
GAMES = {"vae": Tiny(("vae",), _vae, (SPEC, LABELED)),
         "gan": Tiny(("discriminator", "generator"), _gan, (SPEC, LABELED)),
         "flow": Tiny(("flow",), _flow, (spec_of(16, 3), LABELED, TEXTS, TOLD)),
         "autoencoder": Tiny(("discriminator", "autoencoder"), _autoencoder, (spec_of(16, 3),)),
         "classifier": Tiny(("classifier",), _classifier, (spec_of(16, 1, 2), LABELED)),
         "paired": Tiny(("discriminator", "generator"), _paired, (TRANSLATED,), ("l1",)),
         "inpaint": Tiny(("discriminator", "generator"), _inpaint, (TRANSLATED,)),
         "unpaired": Tiny(("discriminator", "generator"), _unpaired, (TRANSLATED,)),
         "restore": Tiny(("discriminator", "restorer"), _restore, (ENLARGED,), ("l1",)),
         "watermark": Tiny(("marker",), _watermark, (TRANSLATED,)),
         "toys.translator": Tiny(("translator",), _toy, (TRANSLATED,)),
         "toys.texts": Tiny(("flow",), _toy, (TEXTS,))}
VARIANTS = [(name, variant) for name, tiny in GAMES.items() for variant in tiny.variants(tiny.specs[-1])]
# They have the networks of another variant, and other losses, which the tests of their game know: left to
# `make test-all` where each variant takes a program of its own.
ALIKE = {("vae", "bernoulli"), ("gan", "non_saturating"), ("gan", "hinge"), ("classifier", "augmented"),
         ("paired", "l1"), ("restore", "l1"), ("unpaired", "cyclegan")}
EVERYDAY = [pytest.param(*names, marks=pytest.mark.slow if names in ALIKE else ()) for names in VARIANTS]


# Whose losses and parameters one and all devices must agree upon: all parts of the games, batch statistics included.
ON_DEVICES = [("vae", "gaussian"), ("gan", "dcgan"), ("classifier", "plain"), ("paired", "unet"),
              ("inpaint", "patches"), ("unpaired", "cut"), ("restore", "l1"), ("flow", "pixels"),
              ("autoencoder", "judged"), ("watermark", "bits"), ("toys.translator", "plain"), ("toys.texts", "plain")]
# Their steps take long to compile and are made of what others have; `make test-all` plays them too.
LONG = {"paired", "inpaint", "unpaired", "autoencoder", "flow"}


def marked(runs: Iterable[tuple[str, str]], long: Container[str] = LONG) -> list:
    """(game, variant)s as parameters of a test, those of long games marked as slow."""
    return [pytest.param(*run, marks=pytest.mark.slow if run[0] in long else ()) for run in runs]


def init(game: Game, spec: Spec) -> tuple:
    """(parameters, mutable) of a game's start, in one program: layer by layer every operation would be one."""
    return jax.jit(lambda key: game.init(key, spec))(jax.random.key(0))


def richest(name: str) -> Spec:
    """The spec with the most fields that a game is played on."""
    return GAMES[name].specs[-1]


def config(name: str, variant: str, spec: Spec | None = None, *, batch: int = 8, flip: bool = True,
           dtype: str = "float32", engine: str = "jit", count: int = 1, steps_per_call: int = 5, **player) -> dict:
    """A whole config of a tiny game; `player` changes every player's optimizer."""
    tiny = GAMES[name]
    spec = spec or tiny.specs[0]
    adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.5, "warmup": 0, "decay": "constant", "final": 1.0,
            "clip": 0.0, **player}
    return {
        "seed": 0,
        "data": {"name": "tiny", "folder": "", "split": "train", "test": "", "dir": "", "size": 0,
                 "label": "label" if "label" in spec else "", "flip": flip, "memory": "resident"},
        "init": {"workdir": "", "freeze": ()},
        "game": {"name": name, **tiny.variants(spec)[variant]},
        "players": {who: dict(adam) for who in tiny.movers(variant)},
        "train": {"images": 100_000, "batch": batch, "accumulate": 1, "dtype": dtype},
        "ema": {"halflife": 50, "rampup": 0.0},
        "devices": {"engine": engine, "count": count, "steps_per_call": steps_per_call},
        "log": {"every": 100, "evaluate": 100, "show": 100, "save": 100, "keep": 1, "keep_every": 0},
        "score": {"every": 0, "num": 20, "space": "classifier", "share": 1.0},
    }


def build(name: str, variant: str, spec: Spec | None = None, **options) -> building.Built:
    spec = spec or GAMES[name].specs[0]
    return building.build(check(config(name, variant, spec, **options)), spec, networks(name, variant))


def clock(step: int = 0, images_seen: float = 0.0) -> Clock:
    return Clock(jnp.int32(step), jnp.float32(images_seen))


def examples(spec: Spec, steps: int, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Batches of smooth shapes: the fields of a spec, [steps,batch,...] each. Sources are noisy, masks are halves."""
    rng = np.random.default_rng(seed)
    size, channels = specs.square(spec)
    classes = spec["label"].classes if "label" in spec else 2
    label = rng.integers(0, classes, (steps, batch)).astype(np.int32)
    phase = rng.uniform(0, 2 * np.pi, (steps, batch, 1, 1, channels))
    x, y = np.meshgrid(*[np.linspace(0, 2 * np.pi, size)] * 2)
    waves = np.sin((1 + label[..., None, None, None]) * x[..., None] + phase) * np.cos(y[..., None] + phase)
    image = np.round(127.5 + 127.5 * waves).astype(np.uint8)
    found = {"image": image}
    if "label" in spec:
        found["label"] = label
    if "source" in spec:
        noisy = np.clip(image.astype(int) + rng.integers(-40, 40, image.shape), 0, 255).astype(np.uint8)
        every = size // specs.image_shape(spec, "source")[0]
        found["source"] = noisy[:, :, ::every, ::every]
    if "mask" in spec:
        found["mask"] = np.broadcast_to(255 * (x > np.pi), (steps, batch, size, size))[..., None].astype(np.uint8)
    if "text" in spec:
        length, words = spec["text"].shape[0], len(spec["text"].names)
        found["text"] = rng.integers(2, 2 + words, (steps, batch, length)).astype(np.int32)
        found["text"][..., 0] = 2 + label
    return found


def rounds(settings: dict, spec: Spec, calls: int) -> tuple[building.step.TrainState, dict]:
    """Play a config through its engine, on all processes there are: the state and the logs [rounds,...] on the host."""
    settings = check(settings)
    built = building.build(settings, spec)
    engine = devices.make(settings.devices.engine, building.check_devices(settings), built.play)
    state, pretrained = engine.put_state(jax.jit(built.init)()), engine.put_state(built.pretrained)
    per_call, mine = settings.devices.steps_per_call, settings.train.batch // jax.process_count()
    batches = examples(spec, calls * per_call, settings.train.batch)
    logs = []
    for call in range(calls):
        rows = np.s_[call * per_call:(call + 1) * per_call, jax.process_index() * mine:(jax.process_index() + 1) * mine]
        state, log = engine.run(state, engine.put_batches({k: v[rows] for k, v in batches.items()}),
                                jax.random.key(settings.seed), pretrained)
        logs.append(engine.fetch(log))
    return engine.fetch(state), jax.tree.map(lambda *x: np.concatenate(x), *logs)
