"""A text-conditional generator with sampler options that only tests contain: a rectified flow of a dense network."""
import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax import spec as specs
from imggen_jax.augment import to_float
from imggen_jax.game import Game, Generator, Option


class Network(nn.Module):
    width: int
    words: int
    dtype: str

    @nn.compact
    def __call__(self, x, time, text):
        said = nn.Embed(self.words, self.width)(text) * (text > 0)[..., None]
        h = nn.Dense(self.width, dtype=self.dtype)(x.reshape(len(x), -1)) + jnp.mean(said, axis=1)
        h = nn.silu(h + nn.Dense(self.width, dtype=self.dtype)(time[:, None]))
        return nn.Dense(x[0].size, dtype=self.dtype)(h).astype(jnp.float32).reshape(x.shape)


def make(spec, *, dtype="float32", width=16):
    shape = specs.image_shape(spec)
    words = len(spec["text"].names) + 2 if spec["text"].names else 257
    net = Network(width, words, dtype)

    def init(key, spec):
        text = jnp.zeros((1, *spec["text"].shape), jnp.int32)
        return {"flow": net.init(key, jnp.zeros((1, *shape)), jnp.zeros(1), text)["params"]}, {}

    def velocity(weights, x, time, text):
        return net.apply({"params": weights["flow"]}, x, time, text)

    def loss(params, mutable, batch, clock, key):
        del clock
        key_noise, key_time, key_drop = jax.random.split(key, 3)
        data = to_float(batch["image"])
        noise, time = jax.random.normal(key_noise, data.shape), jax.random.uniform(key_time, data.shape[:1])
        text = batch["text"] * jax.random.bernoulli(key_drop, 0.9, (len(data), 1))
        share = time[:, None, None, None]
        predicted = velocity(params, (1 - share) * noise + share * data, time, text)
        value = jnp.mean(jnp.square(predicted - (data - noise)))
        return value, (mutable, {"loss": value})

    def prior(key, n, condition):
        del condition
        return jax.random.normal(key, (n, *shape))

    def decode(weights, z, text, options):
        def guided(x, time):
            time = jnp.full(len(x), time)
            plain = velocity(weights, x, time, jnp.zeros_like(text))
            return plain + options["guidance"] * (velocity(weights, x, time, text) - plain)

        steps = options["steps"]
        x = jax.lax.fori_loop(0, steps, lambda i, x: x + guided(x, i / steps) / steps, z)
        return jnp.clip(x, -1, 1)

    def weights(params, mutable):
        del mutable
        return {"flow": params["flow"]}

    main = Generator(prior, decode, lambda weights, fields: fields["text"], needs=("text",),
                     options={"steps": Option(4, 1, 50), "guidance": Option(1.5, 0.0, 20.0)})
    return Game(init, (("flow", loss),), weights, {"main": main})
