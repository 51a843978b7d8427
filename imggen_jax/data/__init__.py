"""Datasets: any prepared TFDS folder and the built-in ones, in memory or read from disk, drawn from by (seed, step).

    dataset = data.load(name="mnist", split="train", dir="", size=32, label="label")
    batch = data.gather(dataset, data.batch_indices(len(dataset.images), seed=0, step=7, batch=64))

`sources` finds a dataset and reads its records, `decoding` and `resize` make pictures square and of one size,
`resident` keeps them in memory, `streamed` decodes them as they are needed, `opening` chooses between the two,
`batches` draws from either, `attributes` reads all labels of a dataset, `stacked_mnist` and `avatars` are built in,
`prepare` writes a stock TFDS dataset to disk, `folders` makes one of a folder of pictures. TensorFlow is needed by
`prepare` alone, and `tensorflow_datasets` is imported on the first use.
"""
from imggen_jax.data.attributes import Attributes, label_names, load_attributes
from imggen_jax.data.batches import ahead, batch_indices, gather, read_batch
from imggen_jax.data.folders import card, ingest
from imggen_jax.data.opening import MEMORY, Dataset, Facts, class_labels, open_dataset, peek
from imggen_jax.data.prepare import prepare
from imggen_jax.data.resident import load
from imggen_jax.data.streamed import Streamed, stream
from imggen_jax.errors import DataError

__all__ = ["MEMORY", "Attributes", "DataError", "Dataset", "Facts", "Streamed", "ahead", "batch_indices", "card",
           "class_labels", "gather", "ingest", "label_names", "load", "load_attributes", "open_dataset", "peek", "prepare",
           "read_batch", "stream"]
