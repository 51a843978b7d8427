"""The verb `personalize`: pictures of one thing and a word for it, from files to an adapter's file."""
from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imggen_jax import flags
from imggen_jax.errors import RunError

if TYPE_CHECKING:
    import numpy as np

    from imggen_jax.model import Model
    from imggen_jax.prompting.personalizing import Learned

DESCRIPTION = """\
Learns a new word from 5 to 20 pictures of one thing, and writes it to a small file beside the model, which is not
changed. A picture may have a caption, NAME.txt beside NAME.png, that says the word and what else is to be seen.

examples:
  imggen personalize --model runs/avatars_text --pictures zork --word zork --out zork.safetensors
  imggen generate --model runs/avatars_text --adapter zork.safetensors:0.8 --prompt "a smiling zork" --out faces
  imggen personalize --model sd15 --pictures zork --word zork --out zork.safetensors      # a LoRA, for diffusers too
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `personalize`."""
    flags.add_model(parser, what="that learns, a VAE or a flow that was trained with captions, or Stable Diffusion")
    parser.add_argument("--pictures", required=True, type=flags.path, metavar="DIR", help="folder of pictures")
    parser.add_argument("--word", required=True, metavar="W", help="a word that the model does not know")
    parser.add_argument("--out", required=True, type=flags.path, metavar="F", help="file to write, .safetensors")
    parser.add_argument("--captions", type=flags.path, metavar="FILE",
                        help="sentences whose pictures are to stay as they are, one a line (default: those of the "
                             "model's dataset)")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="of the optimizer (default: 400)")
    parser.add_argument("--rank", type=int, default=4, metavar="R",
                        help="of the changes of dense layers; 0: the word alone (default: 4)")
    parser.add_argument("--names", choices=("diffusers", "kohya"),
                        help="of the layers of a LoRA of Stable Diffusion, for other programs (default: diffusers)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn (default: 0)")


def run(args: argparse.Namespace, captions: Sequence[str] | None, start: Callable[[], None]) -> list[str]:
    """Writes the adapter; returns lines to print."""
    out = Path(args.out)
    if out.suffix != ".safetensors":
        raise RunError(f"--out {out} does not end with .safetensors; name such a file")
    start()
    from imggen_jax import adapters, loading, pipelines
    from imggen_jax.provenance import policy

    policy.check(loading.find(args.model), "personalize", {}, {"word": args.word})
    model = loading.load(args.model)
    images, said = read(model, Path(args.pictures), args.word)
    if pipelines.resizable(model):
        return _tuned(model, images, said or [f"a photo of {args.word}"] * len(images), out, args)
    if args.names is not None:
        raise RunError("--names is for text-to-image models of others; an adapter of a run is read here alone")
    learned = teach(model, loading.networks(args.model, model), images, args.word, said, captions, args)
    adapters.write(out, learned.adapter)
    lines = [f"{name}: loss {before:.5g} before, {after:.5g} after"
             for name, (before, after) in learned.figures.items()]
    return [*lines, f"{out}, {out.stat().st_size / 1e6:.2f} MB; use it with --adapter {out}"]


def _tuned(model: Model, images: np.ndarray, said: Sequence[str], out: Path, args: argparse.Namespace) -> list[str]:
    """Writes the LoRA of a text-to-image model of others; returns lines to print."""
    from imggen_jax.pipelines import tuning

    with _bar(args) as report:
        learned = tuning.learn(model, images, said, rank=args.rank, steps=args.steps, seed=args.seed, report=report)
    tuning.write(out, learned, args.names or "diffusers")
    before, after = learned.figures
    return [f"loss {before:.5g} before, {after:.5g} after",
            f"{out}, {out.stat().st_size / 1e6:.2f} MB; use it with --adapter {out} and a prompt like {said[0]!r}"]


@contextlib.contextmanager
def _bar(args: argparse.Namespace) -> Iterator[Callable[[int, float], None]]:
    """A bar of the steps, as the function that is told of them."""
    from tqdm import tqdm

    with tqdm(total=args.steps, desc=f"learning {args.word}", leave=False, disable=None) as bar:
        def report(done: int, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.4g}")

        yield report


def read(model: Model, folder: Path, word: str) -> tuple[np.ndarray, list[str] | None]:
    """The pictures of a folder, uint8 [n,H,W,C], and their captions; None where not all have one.

    Raises:
      RunError: there are none, or one cannot be read.
    """
    import numpy as np

    from imggen_jax.data.text import words
    from imggen_jax.editing.sources import open_picture
    from imggen_jax.pictures import files

    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in files.READ) if folder.is_dir() else []
    if not found:
        raise RunError(f"no picture is in the folder {folder}; files end with {', '.join(files.READ)}")
    images = np.stack([open_picture(model, path)[0] for path in found])
    notes = [path.with_suffix(".txt") for path in found]
    if not all(path.is_file() for path in notes):
        return images, None
    try:
        said = [path.read_text(encoding="utf-8").strip() for path in notes]
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"a caption in {folder} cannot be read ({error}); write it in UTF-8") from error
    return images, [each if word in words(each) else f"{word} {each}" for each in said]


def teach(model: Model, networks, images: np.ndarray, word: str, said: list[str] | None,
          captions: Sequence[str] | None, args: argparse.Namespace) -> Learned:
    """`personalizing.learn`, with a bar of its steps."""
    from imggen_jax.data.text import tokenizer_of
    from imggen_jax.prompting import describing, personalizing

    personalizing.check(model, images, word, said, args.steps, args.rank)
    if captions is None:
        decode = tokenizer_of(model.spec[personalizing.TEXT]).decode
        captions = [decode(row) for row in describing.dataset_tokens(model)]
    with _bar(args) as report:
        return personalizing.learn(model, images, word, networks, captions=said, prior=captions, steps=args.steps,
                                   rank=args.rank, seed=args.seed, report=report)
