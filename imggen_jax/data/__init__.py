"""Datasets: any prepared TFDS folder and the built-in ones, decoded once and kept as uint8 arrays.

    dataset = data.load(name="mnist", split="train", dir="", size=32, label="label")
    batch = data.gather(dataset, data.batch_indices(len(dataset.images), seed=0, step=7, batch=64))

`sources` finds a dataset and reads its records, `resize` makes the pictures square and of one size, `resident` keeps
them in memory and draws batches, `stacked_mnist` and `avatars` are built in, `prepare` writes a stock TFDS dataset to
disk. TensorFlow is needed by `prepare` alone, and `tensorflow_datasets` is imported on the first use.
"""
from imggen_jax.data.prepare import prepare
from imggen_jax.data.resident import Dataset, Facts, batch_indices, gather, load, peek
from imggen_jax.data.sources import DataError

__all__ = ["DataError", "Dataset", "Facts", "batch_indices", "gather", "load", "peek", "prepare"]
