"""conv.cc, compiled on this machine by its C++ compiler and kept in the user's cache folder.

A binary built here may use every instruction that this CPU has, which one shipped in a wheel may not; the build takes
about five seconds, once. Where there is no compiler, or it fails, a line says so and `conv` uses XLA's operations,
several times slower. IMGGEN_JAX_NATIVE=0 selects those.
"""
from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax

from imggen_jax.storage.cache import cache_folder
from imggen_jax.storage.files import write_atomic

SOURCE = Path(__file__).with_name("conv.cc")
MAPS = ("output", "input_gradient", "weight_gradient")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-w")
SLOWER = "convolutions on CPU will be several times slower"


@functools.cache
def target(name: str) -> str | None:
    """The FFI target of one of `MAPS`, compiled and registered on the first call; None where there is none."""
    library = _library()
    if library is None:
        return None
    # Kept programs call it by name, so another version must have another name.
    called = f"imggen_jax_{name}_{_digest()}"
    jax.ffi.register_ffi_target(called, jax.ffi.pycapsule(getattr(library, f"imggen_{name}")), platform="cpu")
    return called


@functools.cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("IMGGEN_JAX_NATIVE") == "0":
        return None
    compiler = _compiler()
    if compiler is None:
        logging.warning("no C++ compiler found: %s; install g++ or clang++, or name one in CXX", SLOWER)
        return None
    file = cache_folder("native") / f"conv-{_digest()}.so"
    try:
        if not file.is_file():
            _compile(compiler, file)
        return ctypes.CDLL(str(file))
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines()
        logging.warning("%s cannot compile %s (%s): %s", compiler, SOURCE.name, lines[0] if lines else error, SLOWER)
    except OSError as error:
        logging.warning("%s cannot be made or loaded (%s): %s", file, error, SLOWER)
    return None


def _compile(compiler: str, file: Path) -> None:
    """Compile the kernels; two processes that do it at once do not disturb each other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        words = [compiler, *FLAGS, "-I", jax.ffi.include_dir(), str(SOURCE), "-o", str(made)]
        subprocess.run(words, check=True, capture_output=True, text=True)
        write_atomic(file, made.read_bytes())


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")))), None)


@functools.cache
def _digest() -> str:
    """A hash of all that decides the binary: source, flags, compiler, the headers' version, the CPU's instructions."""
    info = Path("/proc/cpuinfo")
    features = re.search(r"^(flags|Features)\s*:.*$", info.read_text(), re.M) if info.is_file() else None
    parts = (SOURCE.read_text(), FLAGS, _compiler(), importlib.metadata.version("jaxlib"), platform.machine(),
             features and features.group(0))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
