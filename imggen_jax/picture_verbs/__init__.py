"""The verbs that make pictures of pictures: their flags. Nothing heavy is imported before a verb runs."""
from imggen_jax.picture_verbs import one_picture, translation
from imggen_jax.picture_verbs.running import run

__all__ = ["OF_ONE", "VERBS", "WITH_MODEL", "run"]

OF_ONE = one_picture.VERBS           # they need no model
WITH_MODEL = translation.VERBS
VERBS = OF_ONE | WITH_MODEL
