"""The shipped configs as modules, importable from any folder: `from imggen_jax.configs import avatars_vae`.

A checkout keeps them in configs/, beside the package; a wheel carries the same files in imggen_jax/configs/shipped/.
"""
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE / "shipped", _HERE.parent.parent / "configs")
FOLDER = next((place for place in _PLACES if (place / "avatars_vae.py").is_file()), _PLACES[0])
__path__ = [str(FOLDER)]
