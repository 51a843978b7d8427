"""Tiny models of others in diffusers' layout, written once for all tests of this folder."""
import functools

import pytest
import reference_pipelines as reference


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """name of a model of `reference_pipelines` -> its folder. Tests only read it."""
    root = tmp_path_factory.mktemp("pipelines")
    return functools.cache(lambda name: reference.write(root / name, name))
