"""The weights of the first layer that a latent meets, whatever the network, found in the traced program itself."""
from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from imggen_jax.errors import RunError

# What hands its first input on as it is, in other words.
_SAME = {"convert_element_type", "reshape", "squeeze", "copy", "copy_p", "stop_gradient", "slice", "split",
         "broadcast_in_dim"}


def kernel(decode: Callable, weights, size: int, fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """The matrix float [D,outputs] by which the latent is multiplied first.

    Args:
      decode: (weights, w [n,D], fields) -> images.
      weights: of the model.
      size: D.
      fields: what one image is conditioned on, [1,...] each.

    Raises:
      RunError: the latent is not multiplied by a matrix of the weights before anything else is done to it.
    """
    leaves, structure = jax.tree.flatten(weights)

    def program(w, *leaves):
        return decode(jax.tree.unflatten(structure, leaves), w, fields)

    traced = jax.make_jaxpr(program)(jnp.zeros((1, size)), *leaves).jaxpr
    place = _search(traced, {traced.invars[0]}, {var: i for i, var in enumerate(traced.invars[1:])})
    matrix = None if place is None else np.asarray(leaves[place])
    if matrix is None or matrix.ndim < 2 or matrix.shape[0] < size:
        raise RunError("this generator does not begin with a dense layer, as closed-form directions need; use those of "
                       "--method pca")
    return matrix[:size].reshape(size, -1)  # where a class is laid beside the latent, it comes after it


def _search(program, latent: set, known: dict) -> int | None:
    """The place, among the weights, of what the latent is first multiplied by; None if something else comes first."""
    for equation in program.eqns:
        name, inputs = equation.primitive.name, [var for var in equation.invars if not isinstance(var, Literal)]
        touched = [var for var in inputs if var in latent]
        if name == "dot_general" and touched:
            others = [known[var] for var in inputs if var in known]
            return others[0] if others else None
        if inner := equation.params.get("jaxpr"):
            inner = getattr(inner, "jaxpr", inner)
            pairs = [(a, b) for a, b in zip(inner.invars, equation.invars) if not isinstance(b, Literal)]
            if touched:
                return _search(inner, {a for a, b in pairs if b in latent},
                               {a: known[b] for a, b in pairs if b in known})
        elif touched and (name in _SAME or (name == "concatenate" and inputs[0] in latent)):
            latent.update(equation.outvars)
        elif touched:
            return None
        elif name in _SAME and inputs and inputs[0] in known:
            known[equation.outvars[0]] = known[inputs[0]]
    return None
