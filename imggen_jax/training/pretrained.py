"""Networks that a run uses and does not train: found by the config, checked against what the run began with."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imggen_jax.config import Settings
from imggen_jax.errors import ConfigError, RunError, WeightsError
from imggen_jax.game import Classifier, Generator, Pretrained, PyTree
from imggen_jax.storage import checkpoint
from imggen_jax.training import saved
from imggen_jax.weights import find

FILE = "pretrained.json"


def load_all(settings: Settings) -> dict[str, Pretrained]:
    """The networks of config.pretrained, by name.

    Raises:
      ConfigError: an entry that is neither {"weights": ...} nor {"workdir": ...}.
      RunError: a weight file or a run that cannot be read.
    """
    return {name: _load(name, entry) for name, entry in settings.pretrained.items()}


def _load(name: str, entry: Mapping) -> Pretrained:
    where = f"config.pretrained.{name}"
    if not isinstance(entry, Mapping) or set(entry) not in ({"weights"}, {"workdir"}):
        raise ConfigError(f'{where} must be {{"weights": NAME or FILE}} or {{"workdir": FOLDER of a run}}')
    try:
        return find.load(entry["weights"]) if "weights" in entry else of_run(Path(entry["workdir"]))
    except (RunError, WeightsError) as error:
        raise RunError(f"{where}: {error}") from error


def of_run(workdir: Path) -> Pretrained:
    """The main model of a trained run as a network to be used."""
    run = saved.open_run(workdir, weights_only=True)
    return network(run.built.game.main, run.weights)


def network(model: Generator | Classifier, weights: PyTree) -> Pretrained:
    """A trained model as a network to be used: a generator's `encode` and `decode`, or a classifier's `features` and
    `logits`, with the averaged weights."""
    if isinstance(model, Classifier):
        apply = {"features": model.features, "logits": model.logits}
    else:
        apply = {"decode": model.decode} | ({"encode": model.encode} if model.encode else {})
    return Pretrained(weights, apply, checkpoint.fingerprint(weights))


def facts(networks: Mapping[str, Pretrained]) -> dict:
    """What a run remembers of them, JSON."""
    return {name: {"sha256": one.sha256} for name, one in networks.items()}


def check_unchanged(workdir: Path, networks: Mapping[str, Pretrained], old: Mapping | None) -> None:
    """Refuse networks that are not those with which a run began.

    Raises:
      RunError: naming the network.
    """
    if old is None:
        return
    for name, one in networks.items():
        if name in old and old[name]["sha256"] != one.sha256:
            raise RunError(f"config.pretrained.{name} has changed since {workdir} began (sha256 {one.sha256[:12]}, and "
                           f"{old[name]['sha256'][:12]} then); put back the old weights, or choose another --workdir")
