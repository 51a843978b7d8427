"""The flags of `evaluate`. Nothing heavy is imported."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from imggen_jax import flags
from imggen_jax.evaluation import EVALUATORS

EVALUATE = """\
Scores a model, or two sets of pictures: a folder, a .npz file, or a TFDS dataset as NAME[@SPLIT].
Frechet distance (FID in the inception space), KID, Inception Score, precision, recall, density, coverage; each with its
spread, and stored with all that must be equal for two scores to compare.

examples:
  imggen evaluate --model runs/avatars_vae
  imggen evaluate --model runs/mnist_vae --num 10000 --also likelihood --samples 500
  imggen evaluate --real cifar10@train --fake pictures --space inception --json
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of `evaluate`: model, or real and fake; `also` and `only` are tuples."""
    parser = flags.Parser("evaluate", EVALUATE)
    flags.add_model(parser, required=False, what="to score")
    parser.add_argument("--real", metavar="A", help="real pictures: a folder, a .npz file or NAME[@SPLIT]")
    parser.add_argument("--fake", metavar="B", help="pictures to be scored, as --real")
    parser.add_argument("--num", type=int, metavar="N",
                        help="of a model: pictures in each set, beside as many real ones (default: 10000, or all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first picture, and of what is drawn")
    parser.add_argument("--resamples", type=int, default=3, metavar="R",
                        help="of a model: sets of pictures; else random halves (default: 3)")
    parser.add_argument("--space", default="classifier", metavar="F",
                        help="feature space: classifier, inception, inception-tf1, dinov2-vitb14, dinov2-vitl14 "
                             "(default: classifier, trained on the dataset's labels, once)")
    names = ", ".join(EVALUATORS)
    parser.add_argument("--also", metavar="X,Y", help=f"of a model, further evaluators: {names}")
    parser.add_argument("--only", metavar="X,Y",
                        help="of a model, these evaluators alone, without scores: of few pictures, too")
    parser.add_argument("--samples", type=int, metavar="K",
                        help="for likelihood: samples a picture, 1 to 5000 (default: 500)")
    parser.add_argument("--against", type=flags.path, metavar="FILE",
                        help="a stored report to compare with, of the same recipe")
    parser.add_argument("--data", type=flags.path, metavar="P",
                        help="of a model: where its dataset is now, if it was moved: a TFDS data_dir, or a folder, zip "
                             "or tar of pictures")
    parser.add_argument("--changed-data", action="store_true", default=None,
                        help="of a model: evaluate although its dataset has changed since, which the results say")
    parser.add_argument("--data-dir", type=flags.path, metavar="D", help="TFDS data_dir of --real and --fake")
    parser.add_argument("--out", type=flags.path, metavar="O",
                        help="folder for reports, pages and charts (default: M/scores)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    args = parser.parse_args(words)
    scores_model = args.model is not None
    if scores_model == (args.real is not None or args.fake is not None) or (args.real is None) != (args.fake is None):
        parser.error("give either --model, or both --real and --fake")
    other = ("data_dir",) if scores_model else ("also", "only", "samples", "data", "changed_data")
    if stray := [f"--{name.replace('_', '-')}" for name in other if getattr(args, name) is not None]:
        parser.error(f"{stray[0]} goes with {'--real and --fake' if scores_model else '--model'}")
    for name in ("also", "only"):
        text = getattr(args, name)
        setattr(args, name, tuple(flags.commas(text, f"--{name}")) if text is not None else ())
    args.samples = 500 if args.samples is None else args.samples
    args.changed_data = bool(args.changed_data)
    return args
