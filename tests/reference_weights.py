"""Weights and pictures from seeds, with which networks of others are compared to their reference implementations.

Used by the tests and by experiments/weights_parity, which has torch.
"""
import numpy as np


def state(shapes, seed, last="", factor=1.0, shift=0.0, gain=1.0):
    """Random arrays of a state dict, {name: float32 array}; activations keep their size.

    Args:
      shapes: {name: shape}.
      seed: of the numbers.
      last: name of the last layer, whose weights are multiplied by `factor` and whose bias is `shift`, so that results
        lie within the range of pictures.
      gain: of convolutions; sqrt(2) where each is followed by a ReLU, or what differs from place to place dies out.
    """
    rng, arrays = np.random.RandomState(seed), {}
    for name, shape in sorted(shapes.items()):
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            arrays[name] = np.zeros(shape, np.int64)
            continue
        if kind == "filt":  # CUT's low-pass filters
            row = np.array({3: (1, 2, 1), 4: (1, 3, 3, 1)}[shape[-1]], np.float64)
            value = np.broadcast_to(np.outer(row, row) / row.sum()**2 * (4 if shape[-1] == 4 else 1), shape)
        elif len(shape) == 4:
            value = gain * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        elif kind in ("weight", "running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        if last and name == f"{last}.weight":
            value = factor * value
        if last and name == f"{last}.bias":
            value = np.full(shape, shift)
        arrays[name] = np.ascontiguousarray(value, np.float32)
    return arrays


def picture(seed, height, width, channels=3):
    """uint8 [1,height,width,channels], of values 48 to 207."""
    return np.random.RandomState(seed).randint(48, 208, (1, height, width, channels)).astype(np.uint8)


def mask(height, width):
    """uint8 [1,height,width,1]: 255 in a rectangle in the middle, which is to be filled."""
    made = np.zeros((1, height, width, 1), np.uint8)
    made[:, height // 3:2 * height // 3, width // 4:width // 2] = 255
    return made


def condition(needs, height, width, channels=3):
    """The fields that a network needs: pictures of seeds 1 (source) and 2 (style), and `mask`."""
    fields = {"source": picture(1, height, width, channels), "mask": mask(height, width),
              "style": picture(2, height + 5, width - 3, channels)}
    return {name: fields[name] for name in needs}
