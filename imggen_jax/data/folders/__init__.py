"""Someone's own pictures: a messy folder, zip or tar becomes a TFDS dataset, once, and is used from then on.

    made = ingest("holiday.zip", size=64)
    dataset = data.open_dataset(name=made.name, dir=made.dir, split="train", size=64)

`members` finds files and opens them safely, `pixels` makes of one file the picture that a viewer shows, `worker` does
so in processes that a hostile file cannot leave, and `opening` for one picture alone. `notes` reads what is said beside
pictures, `matching` finds which file it is about, `store` remembers all of it in SQLite. `pairing` puts pictures that
belong together into one example, `layout` finds splits, labels and attributes, `merging` makes one of exact copies,
`similar` finds near duplicates. `identity` says which dataset it is, `dataset` writes the array_record files,
`checking` notices when one is damaged later, `report` tells what became of every file, and `ingestion` puts it
together.
"""
from imggen_jax.data.folders.checking import Damaged, verify
from imggen_jax.data.folders.ingestion import Ingested, card, check, ingest
from imggen_jax.data.folders.opening import Opened, open_picture
from imggen_jax.data.folders.options import MAX_PIXELS, picture_options, splits
from imggen_jax.data.folders.report import lines

__all__ = ["MAX_PIXELS", "Damaged", "Ingested", "Opened", "card", "check", "ingest", "lines", "open_picture",
           "picture_options", "splits", "verify"]
