"""A classifier: one player, which learns the label fields of a dataset.

It makes no images. It judges them: its features are a space in which scores are computed without a download, and its
predictions count the modes, attributes and labels of what a generator has made.
"""
from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from imggen_jax import augment as aug
from imggen_jax import losses
from imggen_jax import spec as specs
from imggen_jax.game import Array, Batch, Classifier, Clock, Game, Key, Mutable, Params, Spec, Weights


def make(spec: Spec, *, dtype: str, network: Mapping[str, Any], augment: Sequence[str] = ()) -> Game:
    """The game of a lone player, "classifier", which minimizes the cross-entropy summed over all label fields.

    Args:
      spec: fields of an example: a square "image" and one or more label fields, each predicted by a head of its own
        from the same features.
      network: `name`, a module of imggen_jax/nets, and keyword arguments of its Classifier.
      dtype: of the computations inside the network, "float32" or "bfloat16".
      augment: augmentations of the training images, of `augment.POLICIES`; () for none.

    Raises:
      ValueError: no labels, an unknown augmentation, or a size that the network does not have.
    """
    targets = specs.labels(spec)
    if not targets:
        raise ValueError("a classifier needs labels to learn; name a class label in config.data.label")
    if unknown := set(augment) - set(aug.POLICIES):
        raise ValueError(f"unknown augmentation {min(unknown)!r}; choose from {', '.join(aug.POLICIES)}")
    net = _network(spec, tuple(spec[name].classes for name in targets), dtype, **network)

    def init(key: Key, spec: Spec):
        images = jnp.zeros((1, *specs.image_shape(spec)))
        return {"classifier": net.init(key, images)["params"]}, {}

    def apply(weights: Weights, images: Array):
        return net.apply({"params": weights["classifier"]}, images)

    def figures(logits: Sequence[Array], batch: Batch):
        """float32 [B] each: the cross-entropy summed over labels, in nats, and the share of labels that are right."""
        entropy = sum(losses.cross_entropy(each, batch[name]) for name, each in zip(targets, logits))
        right = [jnp.argmax(each, axis=-1) == batch[name] for name, each in zip(targets, logits)]
        return {"cross_entropy": entropy, "accuracy": jnp.mean(jnp.stack(right, -1).astype(jnp.float32), axis=-1)}

    def loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock
        images = aug.diff_augment(aug.to_float(batch["image"]), key, augment)
        found = figures(logits(params, images), batch)
        value = jnp.mean(found["cross_entropy"])
        return value, (mutable, {"loss": value, "accuracy": jnp.mean(found["accuracy"])})

    def metrics(weights: Weights, batch: Batch, key: Key):
        del key  # nothing is drawn
        return figures(logits(weights, aug.to_float(batch["image"])), batch)

    def logits(weights: Weights, images: Array):
        return apply(weights, images)[1]

    def features(weights: Weights, images: Array):
        return apply(weights, images)[0]

    def weights(params: Params, mutable: Mutable):
        del mutable
        return {"classifier": params["classifier"]}

    models = {"main": Classifier(targets, logits, features)}
    return Game(init, (("classifier", loss),), weights, models, metrics=metrics)


def _network(spec: Spec, classes: tuple[int, ...], dtype: str, *, name: str, **keys: Any):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    size, channels = specs.square(spec)
    return module.Classifier(size=size, channels=channels, classes=classes, dtype=jnp.dtype(dtype), **keys)
