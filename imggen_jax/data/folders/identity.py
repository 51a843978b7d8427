"""What an ingested dataset is, apart from what its files are called and where they lie.

identity.json holds {"pixels": sha256, "fields": {feature: sha256}}, both in hex. `pixels` is over the pixels of the
feature `image`, in their order, split by split; each field is over the values of one other feature in the same order,
`source` and `mask` over their pixels. A run's data are the same as long as the pixels and the fields that it reads are:
a note beside the pictures, a file that cannot be used, a caption that is not read, another name or an archive in place
of the folder change none of these.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from imggen_jax.data import text
from imggen_jax.data.folders import dataset
from imggen_jax.data.folders.dataset import Form
from imggen_jax.data.folders.layout import Plan
from imggen_jax.data.folders.store import Store

if TYPE_CHECKING:
    from _hashlib import HASH

FILE = "identity.json"


class Identity(NamedTuple):
    """The sums in hex, and what is learned on the way."""

    pixels: str
    fields: dict[str, str]  # by feature
    words: tuple[str, ...]  # of the captions in the split train, the most frequent first

    def as_json(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "fields": self.fields}


def compute(store: Store, plan: Plan, form: Form) -> Identity:
    """Reads what is stored of the chosen pictures, without the pictures themselves, once."""
    sums: dict[tuple[str, str], HASH] = {}
    values = dataset.fields(plan, form)

    def captions() -> Iterator[str]:
        for picture in store.chosen(pixels=False):
            split = plan.split(picture)
            pixels = {"image": picture.pixels} | ({"source": picture.source_pixels} if form.source else {})
            pixels |= {"mask": picture.mask_pixels} if form.mask else {}
            for key, value in (*pixels.items(), *values(picture)):
                data = value if isinstance(value, bytes) else repr(value).encode()
                sums.setdefault((key, split), hashlib.sha256()).update(b"%d:%b" % (len(data), data))
            if plan.captions and split == "train":
                yield picture.caption

    words = text.learn(captions())
    names = {key: kind.names for key, kind in plan.columns.items()}
    names |= {dataset.label_name(form): plan.label.names} if plan.label else {}
    fields = {key: _joined(plan, {split: sums[key, split] for split in plan.splits}, names.get(key, ()))
              for key in sorted({key for key, _ in sums})}
    return Identity(fields.pop("image"), fields, words)


def _joined(plan: Plan, sums: dict[str, HASH], names: tuple[str, ...]) -> str:
    told = [(split, plan.splits[split], each.hexdigest()) for split, each in sums.items()]
    return hashlib.sha256(repr((told, names)).encode()).hexdigest()
