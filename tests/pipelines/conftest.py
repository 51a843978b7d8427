"""Tiny models of others in diffusers' layout, written once for all tests of this folder."""
import functools

import pytest
import reference_pipelines as reference


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """name of a model of `reference_pipelines` -> its folder. Tests only read it."""
    from imggen_jax.weights import published, tensors

    root = tmp_path_factory.mktemp("pipelines")

    @functools.cache
    def write(name):
        shapes = {}
        for component, config in reference.MODELS[name][1].items():
            if component == "unet":
                parts = [published.unet(config, "float32")]
            elif component == "vae":
                parts = list(published.autoencoder(config, "float32"))
            else:
                parts = [published.clip(config, "float32", projected=component.endswith("2"))]
            shapes[component] = {key: shape for part in parts
                                 for key, shape in tensors.stored_shapes(part.wanted).items()}
        return reference.write(root / name, name, shapes)

    return write
