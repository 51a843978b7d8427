"""A translator that only tests contain: from a source of any size to an image that is `scale` times as large."""
import flax.linen as nn
import jax.numpy as jnp

from imggen_jax.augment import to_float
from imggen_jax.game import Game, Generator
from imggen_jax.nets.conv import Conv


class Network(nn.Module):
    scale: int
    channels: int
    width: int = 4

    @nn.compact
    def __call__(self, source):
        x = nn.relu(Conv(self.width)(source) + 0.1)          # a bias: zeros outside are no longer zeros one layer on
        x = Conv(self.scale**2 * self.channels)(x)
        n, h, w, _ = x.shape
        x = x.reshape(n, h, w, self.scale, self.scale, self.channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, h * self.scale, w * self.scale, self.channels)
        return 0.2 * x + source.repeat(self.scale, 1).repeat(self.scale, 2)


def make(spec, *, dtype="float32", scale=2, pretrained=None):
    del dtype, pretrained
    channels = spec["image"].shape[-1]
    net = Network(scale, channels)

    def condition(weights, fields):
        return {"source": to_float(fields["source"])}

    def init(key, spec):
        return {"upscaler": net.init(key, jnp.zeros((1, 8, 8, channels)))["params"]}, {}

    def upscaled(weights, condition):
        return net.apply({"params": weights["upscaler"]}, condition["source"])

    def loss(params, mutable, batch, clock, key):
        del clock, key
        value = jnp.mean(jnp.abs(upscaled(params, condition(params, batch)) - to_float(batch["image"])))
        return value, (mutable, {"loss": value})

    def decode(weights, z, condition, options):
        del z, options
        return jnp.clip(upscaled(weights, condition), -1, 1)

    main = Generator(lambda key, n, condition: (), decode, condition, needs=("source",))
    return Game(init, (("upscaler", loss),), lambda params, mutable: params, {"main": main})
