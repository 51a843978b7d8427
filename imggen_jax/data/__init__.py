"""Datasets: any prepared TFDS folder and the built-in ones, in memory or streamed, read by (seed, step).

    dataset = data.open_dataset(name="mnist", split="train", label="label")
    dataset.spec["image"]                                         # Field((28, 28, 1), "uint8")
    batch = data.read_batch(dataset, seed=0, step=7, batch=64)    # {"image": uint8 [64,28,28,1], "label": int32 [64]}

`dataset` says what a Dataset is, `opening` opens one, `combine` and `cropping` make others of it, and `batches` reads
it in a random order. Below them: `sources` finds a prepared dataset, `splits` understands which part is meant,
`columns` which features, `records` reads them, `scanning` goes through all of them without decoding, `decoding` and
`resize` make pixels, `resident` keeps them in memory, `cache` on disk, `streamed` makes them anew, `memory` says how
much is free, `text` makes tokens of captions. `stacked_mnist` and `avatars` are built in, `drawing` makes avatars with
a skew, `prepare` writes a stock TFDS dataset to disk, `folders` makes one of a folder of pictures. TensorFlow is needed
by `prepare` alone; `tensorflow_datasets` is imported on the first use, and JAX is not.
"""
from imggen_jax.data.batches import ahead, batch_indices, read_batch
from imggen_jax.data.combine import concatenate, mapped, resized, select, side_by_side, stacked, take, unaligned, zipped
from imggen_jax.data.cropping import cropped
from imggen_jax.data.dataset import Dataset, from_arrays, is_image
from imggen_jax.data.drawing import draw_avatars
from imggen_jax.data.folders import card, ingest, open_picture, picture_options
from imggen_jax.data.opening import MEMORY, class_labels, open_dataset, open_folder, square_side
from imggen_jax.data.prepare import prepare
from imggen_jax.data.splits import parse_split, sub_split
from imggen_jax.data.text import Tokenizer, parse_text, same_text, tokenizer_of
from imggen_jax.errors import DataError

__all__ = ["MEMORY", "DataError", "Dataset", "Tokenizer", "ahead", "batch_indices", "card", "class_labels",
           "concatenate", "cropped", "draw_avatars", "from_arrays", "ingest", "is_image", "mapped", "open_dataset",
           "open_folder", "open_picture", "parse_split", "parse_text", "picture_options", "prepare", "read_batch",
           "resized", "same_text", "select", "side_by_side", "square_side", "stacked", "sub_split", "take",
           "tokenizer_of", "unaligned", "zipped"]
