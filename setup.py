"""The packages; all else stands in pyproject.toml, which cannot say that configs/ becomes a part of the package."""
from setuptools import find_namespace_packages, setup

setup(packages=[*find_namespace_packages(include=["imggen_jax", "imggen_jax.*"]), "imggen_jax.configs.shipped"],
      package_dir={"imggen_jax.configs.shipped": "configs"})
