"""Eight CPU devices for every test, and the embedded data set in its smallest size, made once."""

import gc
import importlib.metadata
import os
import pathlib
import sys

import pytest

# Before JAX and TensorFlow are imported.
# Tests run small programs a few times, so compiling them fast matters more than running them fast;
# many tests compile the same step, and all of them the same small operations, so one compilation
# is kept for all: also for the next run of the tests, which reads what this one has compiled.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# `compiler_options` that undo it: a program that is tested for what the compiler makes of it.
TRAINING_COMPILATION = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"  # later ones end at an unknown flag
    TRAINING_COMPILATION["xla_cpu_use_fusion_emitters"] = True
_DEVICES = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES} {FAST_COMPILATION}"
_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_GCE_CHECK", "true")

TINY = "streets/64x128_tiny"
# Compiled programs that a process keeps: about a gigabyte. Neighbouring modules share them.
KEPT_PROGRAMS = 1000
# Over which metrics of eight examples are summed; one by one and all at once are less than batches
# of which the last is smaller.
BATCH_SIZES = [3, *(pytest.param(n, marks=pytest.mark.weekly) for n in (1, 8))]


# Seldom, from the first import on: JAX has something to do at each collection as well.
gc.set_threshold(50_000, 20, 20)


def pytest_ignore_collect(collection_path, config):
    """A run of the slow tests imports those files alone that name the mark, a quarter of them."""
    if config.option.markexpr == "slow" and collection_path.match("test_*.py"):
        return "slow" not in collection_path.read_text("utf-8") or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Refuses slow tests that such a run would not find."""
    for path in {item.path for item in items if item.get_closest_marker("slow")}:
        if "slow" not in path.read_text("utf-8"):
            raise pytest.UsageError(f"{path} has slow tests; expected the word 'slow' in it.")


def pytest_collection_finish():
    """Garbage collection looks at none of what has been imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def programs_are_kept_for_some_modules():
    """Those of all modules take gigabytes, and make each garbage collection take a second."""
    yield
    if "jax" in sys.modules:
        jax = sys.modules["jax"]
        if len(jax.devices()[0].client.live_executables()) > KEPT_PROGRAMS:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="session")
def streets_dir(tmp_path_factory):
    """A data directory with the tiny Streets prepared: 24 / 8 / 8 examples of 64×128."""
    from input_pipeline import datasets

    everybodys = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        everybodys = everybodys.parent
    directory = everybodys / "streets"
    datasets.load(TINY, data_dir=str(directory))  # what another process prepares is waited for
    return str(directory)
