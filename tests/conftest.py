"""Two devices out of one CPU, programs compiled once for all tests, and nothing written outside temporary folders."""
import functools
import gc
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

import pytest

# Before JAX is imported, here or in a process that a test starts.
HERE = Path(__file__).resolve().parent
os.environ["JAX_PLATFORMS"] = "cpu"
# These tests compile for much longer than they compute, so the compiler tries less hard and splits no program into
# parts for many cores: a fifth of its time.
FAST = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a flag that a jaxlib does not know ends the process
    FAST += ["--xla_cpu_use_fusion_emitters=false", "--xla_llvm_disable_expensive_passes=true",
             "--xla_cpu_parallel_codegen_split_count=1"]
# As many devices as cores can serve: XLA keeps a thread for each, and idle ones that look for work took nine tenths of
# the processor. A process of its own plays what needs eight (tests/test_devices.py).
DEVICES = os.environ.get("IMGGEN_JAX_TEST_DEVICES", "2")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""),
                                    f"--xla_force_host_platform_device_count={DEVICES}", *FAST])
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE.parent / ".pytest_cache" / "compiled"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["MPLBACKEND"] = "Agg"
# On small matrices, and beside other processes, OpenBLAS's threads spend most of their time waiting for each other.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

_cache = tempfile.TemporaryDirectory(prefix="imggen_jax_tests_")
os.environ["IMGGEN_JAX_CACHE"] = _cache.name
os.environ["IMGGEN_JAX_CONFIG"] = str(Path(_cache.name) / "config")   # the key that pictures are signed with
_kernels = HERE.parent / ".pytest_cache" / "native"  # compiled C++ is kept, as compiled programs are
_kernels.mkdir(parents=True, exist_ok=True)
(Path(_cache.name) / "native").symlink_to(_kernels)

sys.path.insert(0, str(HERE))  # for `import tiny`


def pytest_configure(config):
    # The tests mirror the package, so two files may have one name: nets/test_vae.py and games/test_vae.py.
    config.option.importmode = "importlib"


def pytest_collection_finish():
    # Tracing makes millions of small objects that live long; looking among them, and among all that was imported, for
    # cycles took a tenth of the processor.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """game -> the folder of a run of two steps, which begins when it is first asked for. Tests only read it."""
    import shell

    import imggen_jax

    root = tmp_path_factory.mktemp("short")

    @functools.cache
    def run(game):
        content = shell.config("vae" if game == "gaussian" else game, train={"images": 16})
        if game == "gaussian":  # a parameter of it is a scalar
            content["game"] |= {"likelihood": "gaussian"}
        imggen_jax.train(content, root / game)
        return root / game

    return run
