"""Small pictures whose parts can be told apart."""
import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture(scope="session")
def stones():
    """uint8 [64,80,3]: smooth random blobs, dark lines between them."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((64, 80)), 3)
    color = np.stack([field, np.roll(field, 5, 0), field * 0.5], -1) / field.std()
    lines = np.abs(ndimage.gaussian_filter(rng.standard_normal((64, 80)), 4)) < 0.01
    return (np.clip(0.5 + 0.15 * color - 0.4 * lines[..., None], 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def stripes():
    """uint8 [64,80,3]: stripes of 8 pixels along the columns."""
    wave = 128 + 100 * np.sign(np.sin((np.arange(80) + 0.5) * 2 * np.pi / 8))
    return np.broadcast_to(wave[None, :, None], (64, 80, 3)).astype(np.uint8).copy()
