"""Writes a dataset to disk, once, as array_record, so that it is read from then on without TensorFlow."""
from __future__ import annotations

import difflib
import http.client
import importlib.util
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from imggen_jax.data import sources
from imggen_jax.errors import DataError, brief

_PATIENCE = 5.0  # seconds that the hosts of a download have to answer


def prepare(name: str, dir: str = "") -> Path:
    """Prepares the dataset `name[/config][:version]` in the TFDS data_dir `dir` ("" for TFDS's own); gives its folder.

    A stock TFDS dataset is downloaded and converted, which needs TensorFlow (the extra `prepare`); avatars are drawn;
    stacked_mnist is made from mnist, so mnist is prepared. One that is there already is left alone.

    Raises DataError for an unknown name, without TensorFlow, and where no host of the download answers within seconds.
    """
    wanted, root = sources.parse_name(name), sources.data_dir(dir)
    if name == sources.STACKED_MNIST:
        name, wanted = "mnist", sources.parse_name("mnist")
    folder = sources.find_prepared(wanted, root)
    if folder is not None:
        print(f"{name} is already prepared: {folder}")
        return folder
    if wanted.name == sources.AVATARS:
        return sources.draw_avatars(wanted, root)
    import tensorflow_datasets as tfds

    _check_known(name, wanted, tfds)
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(f"preparing {name!r} needs TensorFlow, which reading it does not: "
                        'pip install "imggen_jax[prepare]"')
    try:
        builder = tfds.builder(name, data_dir=root)
    except Exception as error:  # unknown configs and versions, and missing packages, each by another type
        raise DataError(f"dataset {name!r} cannot be prepared: {brief(error)}") from error
    _check_network(name, builder, root, tfds)
    try:
        builder.download_and_prepare(file_format="array_record",
                                     download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # no disk space, a broken download, files to be fetched by hand: each by another type
        raise DataError(f"preparing {name!r} in {root} failed: {brief(error)}") from error
    print(f"{name} is prepared: {builder.data_dir}")
    return Path(builder.data_dir)


def _check_known(name: str, wanted: sources.Name, tfds: Any) -> None:
    known = tfds.list_builders(with_community_datasets=False)
    if wanted.name not in known:
        close = difflib.get_close_matches(wanted.name, [*known, *sources.BUILT_IN])
        raise DataError(f"dataset {name!r} is not known to TFDS"
                        + (f"; did you mean {' or '.join(close)}?" if close else "; see `tfds.list_builders()`"))
    configs = sorted(tfds.builder_cls(wanted.name).builder_configs)
    if wanted.config is not None and wanted.config not in configs:
        raise DataError(f"dataset {wanted.name!r} has no config {wanted.config!r}; it has "
                        + (f"{len(configs)}: {', '.join(configs[:10])}" if configs else "none"))


def _check_network(name: str, builder: Any, root: Path, tfds: Any) -> None:
    """Raises DataError unless a host of the download answers or all files are there; TFDS would try for minutes."""
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:  # files to be fetched by hand; TFDS says at once where they belong
        return
    downloads = root / "downloads"
    here = {path.name for pattern in ("*", "*/*") for path in downloads.glob(pattern)}
    missing = [url for url, info in (builder.url_infos or {}).items()
               if not here & {info.filename, tfds.core.download.resource.get_dl_fname(url, info.checksum)}]
    parts = [urllib.parse.urlsplit(url) for url in missing]
    hosts = sorted({f"{part.scheme}://{part.netloc}" for part in parts if part.scheme in ("http", "https")})
    if hosts and not _any_answers(hosts):
        raise DataError(f"{name!r} is downloaded from {', '.join(hosts[:3])}, and no answer came within "
                        f"{_PATIENCE:.0f} seconds; check the network, or fetch the files elsewhere and put them into "
                        f"{downloads / 'manual'}")


def _any_answers(hosts: list[str]) -> bool:
    """Whether one of the hosts (scheme://name) answers at all; proxies set in the environment are used."""
    answers: queue.Queue[bool] = queue.Queue()

    def ask(host: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=_PATIENCE).close()
            answers.put(True)
        except urllib.error.HTTPError:  # an answer, if not a friendly one
            answers.put(True)
        except (OSError, ValueError, http.client.HTTPException):  # refused, timed out, no such name
            answers.put(False)

    for host in hosts:  # daemon threads, since a look-up of the name cannot be given a time limit
        threading.Thread(target=ask, args=(host,), daemon=True).start()
    deadline = time.monotonic() + _PATIENCE
    for _ in hosts:
        try:
            if answers.get(timeout=max(deadline - time.monotonic(), 0.01)):
                return True
        except queue.Empty:
            return False
    return False
