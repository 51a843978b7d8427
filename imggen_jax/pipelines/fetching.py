"""Models from the Hugging Face Hub, on request: what is read here is downloaded, after its license was shown."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import RunError
from imggen_jax.weights import diffusers

SECONDS = 10  # for the first answer; without a network there is none
WANTED = ("*.json", "*.txt", "*.md", "*.safetensors")
# What is not read: other frameworks' files, checkers of pictures, and copies in half precision of what is there.
LEFT_OUT = ("safety_checker/*", "feature_extractor/*", "*.fp16.safetensors", "*non_ema*", "*.onnx*", "*.msgpack")


class Offer(NamedTuple):
    """What is known of a repository before it is downloaded."""

    repo: str
    license: str
    files: int
    size: int  # bytes
    beside: tuple[str, ...] = ()  # files that are not taken: the whole model once more, in one file


def look(repo: str) -> Offer:
    """The license and the size of a repository.

    Args:
      repo: "owner/name".

    Raises:
      RunError: huggingface_hub is not installed, the Hub cannot be reached, or there is no such repository.
    """
    hub = _hub()
    try:
        info = hub.HfApi().model_info(repo, files_metadata=True, timeout=SECONDS)
    except Exception as error:  # noqa: BLE001  whatever the network does
        raise RunError(f"cannot ask for {repo} ({_brief(error)}); check the name and the network. A folder that is "
                       "there already is used by --model") from None
    wanted = [one for one in info.siblings or () if _is_wanted(one.rfilename)]
    names = [one.rfilename for one in wanted]
    beside = tuple(name for name in names if name.endswith(".safetensors") and "/" not in name
                   and diffusers.INDEX in names)
    wanted = [one for one in wanted if one.rfilename not in beside]
    if not any(one.rfilename.endswith(".safetensors") for one in wanted):
        raise RunError(f"{repo} has no safetensors files, and others are not read here")
    card = info.card_data
    return Offer(repo, str((card and (card.get("license_name") or card.get("license"))) or "not named"), len(wanted),
                 sum(one.size or 0 for one in wanted), beside)


def fetch(offer: Offer, out: Path, report: Callable[[str], object] = lambda line: None) -> Path:
    """Download a repository to a folder; what is there already is not downloaded again.

    Args:
      offer: of `look`.
      out: folder; made if needed.
      report: called with lines that say what happens.

    Raises:
      RunError: it cannot be downloaded or written.
    """
    hub = _hub()
    report(f"{offer.repo}: {offer.files} files, {offer.size / 2**30:.1f} GiB, to {out}")
    try:
        hub.snapshot_download(offer.repo, local_dir=out, allow_patterns=list(WANTED),
                              ignore_patterns=[*LEFT_OUT, *offer.beside], etag_timeout=SECONDS)
    except Exception as error:  # noqa: BLE001  whatever the network does
        raise RunError(f"cannot download {offer.repo} ({_brief(error)}); run the same command again, it goes on where "
                       "it stopped") from None
    return out


def _is_wanted(name: str) -> bool:
    import fnmatch

    def matches(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    return matches(WANTED) and not matches(LEFT_OUT)


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        raise RunError("models are fetched by the package huggingface_hub; pip install 'imggen_jax[open]'") from None
    return huggingface_hub


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]
