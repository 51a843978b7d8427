"""Configs: `schema` declares all keys, `files` reads a file with its overrides, `values` resolves, checks and compares.

    config = read("avatars_vae", ["--config.train.batch=32"])   # a ConfigDict with every key
    settings = check(config)                                    # a Settings, of the right types and ranges
"""
from imggen_jax.config.files import find, merge, read, shipped
from imggen_jax.config.schema import SECTIONS, Data, Devices, Ema, Init, Log, Player, Score, Settings, Train
from imggen_jax.config.values import (
    PLACES,
    changes,
    check,
    check_type,
    differences,
    flatten,
    resolve,
    to_dict,
    without_places,
)

__all__ = ["Data", "Devices", "Ema", "Init", "Log", "PLACES", "Player", "SECTIONS", "Score", "Settings", "Train",
           "changes", "check", "check_type", "differences", "find", "flatten", "merge", "read", "resolve", "shipped",
           "to_dict", "without_places"]
