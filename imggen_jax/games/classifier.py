"""A classifier: one player, who learns to name what real pictures show.

It makes no pictures. It judges them: its features are a space in which scores are computed without a download, and its
answers count the modes, attributes and labels of what a generator has made.
"""
from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from imggen_jax import augment as aug
from imggen_jax import losses
from imggen_jax.game import Classifier, Game, Spec


def make(spec: Spec, *, dtype: str, network: Mapping, augment: Sequence[str] = ()) -> Game:
    """The game of a lone player, "classifier", who minimises the cross-entropy of every label, summed over labels.

    One label (`spec.classes` a number, batch["label"] int32 [B]) or several (a tuple, int32 [B,K]), each with an answer
    of its own from the same features.

    Args:
      spec: what the data decide.
      dtype: of the computations inside the network, "float32" or "bfloat16".
      network: `name`, a module of imggen_jax/nets, and keyword arguments of its Classifier.
      augment: what is done to pictures in training, of `augment.POLICIES`; () for nothing.

    Raises:
      ValueError: no labels, an unknown augmentation, or a size that the network does not have.
    """
    if not spec.classes:
        raise ValueError("a classifier needs labels to learn; name a class label in config.data.label")
    if unknown := set(augment) - set(aug.POLICIES):
        raise ValueError(f"unknown augmentation {min(unknown)!r}; choose from {', '.join(aug.POLICIES)}")
    several = isinstance(spec.classes, tuple)
    net = _network(spec, spec.classes if several else (spec.classes,), dtype, **network)

    def init(key, batch):
        del batch  # shapes come from spec
        images = jnp.zeros((1, spec.size, spec.size, spec.channels))
        return {"classifier": net.init(key, images)["params"]}, {}

    def apply(weights, images):
        return net.apply({"params": weights["classifier"]}, images)

    def figures(logits, label):
        """float32 [B] each: the cross-entropy summed over labels, in nats, and the share of labels that are right."""
        label = label if several else label[:, None]
        entropy = sum(losses.cross_entropy(each, label[:, k]) for k, each in enumerate(logits))
        right = [jnp.argmax(each, axis=-1) == label[:, k] for k, each in enumerate(logits)]
        return {"cross_entropy": entropy, "accuracy": jnp.mean(jnp.stack(right, -1).astype(jnp.float32), axis=-1)}

    def loss(params, extra, batch, key):
        images = aug.diff_augment(aug.to_float(batch["image"]), key, augment)
        found = figures(logits(params, images), batch["label"])
        value = jnp.mean(found["cross_entropy"])
        return value, (extra, {"loss": value, "accuracy": jnp.mean(found["accuracy"])})

    def evaluate(weights, batch, key):
        del key  # nothing is drawn
        return figures(logits(weights, aug.to_float(batch["image"])), batch["label"])

    def logits(weights, images):
        return apply(weights, images)[1]

    def features(weights, images):
        return apply(weights, images)[0]

    def weights(params, extra):
        return {"classifier": params["classifier"]}

    return Game(init, (("classifier", loss),), weights, classifier=Classifier(logits, features), evaluate=evaluate)


def _network(spec: Spec, classes: tuple[int, ...], dtype: str, *, name: str, **keys):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    return module.Classifier(size=spec.size, channels=spec.channels, classes=classes, dtype=jnp.dtype(dtype), **keys)
