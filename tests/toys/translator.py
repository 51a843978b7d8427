"""A translator that only tests contain: from a source and a mask, of any size, to an image of that size."""
import flax.linen as nn
import jax.numpy as jnp

from imggen_jax.augment import to_float
from imggen_jax.game import Game, Generator
from imggen_jax.nets.conv import Conv


class Network(nn.Module):
    width: int
    channels: int
    dtype: str

    @nn.compact
    def __call__(self, source, mask):
        x = jnp.concatenate([source, mask], axis=-1).astype(self.dtype)
        x = nn.silu(Conv(self.width, dtype=self.dtype)(x))
        return source + Conv(self.channels, dtype=self.dtype)(x).astype(jnp.float32)


def make(spec, *, dtype="float32", width=8, pretrained=None):
    """With a pretrained network called "features", its features are compared too."""
    if missing := {"source", "mask"} - set(spec):
        raise ValueError(f"a translator needs the field {min(missing)!r}")
    channels = spec["image"].shape[-1]
    net = Network(width, channels, dtype)

    def condition(weights, fields):
        return {"source": to_float(fields["source"]), "mask": fields["mask"].astype(jnp.float32) / 255}

    def init(key, spec):
        side = jnp.zeros((1, 8, 8, 1))
        return {"translator": net.init(key, jnp.repeat(side, channels, -1), side)["params"]}, {}

    def translate(weights, condition):
        return net.apply({"params": weights["translator"]}, condition["source"], condition["mask"])

    def loss(params, mutable, batch, clock, key):
        del clock, key
        made, image = translate(params, condition(params, batch)), to_float(batch["image"])
        value = jnp.mean(jnp.abs(made - image))
        if pretrained:
            seen = [pretrained["features"].apply["features"](params["features"], each) for each in (made, image)]
            value += 0.1 * jnp.mean(jnp.abs(seen[0] - seen[1]))
        return value, (mutable, {"loss": value})

    def metrics(weights, batch, key):
        del key
        error = jnp.square(translate(weights, condition(weights, batch)) - to_float(batch["image"]))
        return {"mse": jnp.mean(error, axis=(1, 2, 3))}

    def decode(weights, z, condition, options):
        del z, options
        return jnp.clip(translate(weights, condition), -1, 1)

    def weights(params, mutable):
        del mutable
        return {"translator": params["translator"]}

    main = Generator(lambda key, n, condition: (), decode, condition, needs=("source", "mask"))
    return Game(init, (("translator", loss),), weights, {"main": main}, metrics=metrics)
