"""Are the configs of published models understood, and prompts tokenized as transformers does by their vocabularies?

    python experiments/open_weights/published.py FOLDER ...

A folder is a published model of Stable Diffusion 1.5, 2.1 or XL in diffusers' layout; its weights need not be there, so
`GIT_LFS_SKIP_SMUDGE=1 git clone` is enough. Prints a line for each.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import check
import numpy as np
import reference_pipelines as reference
import transformers

from imggen_jax import schedules
from imggen_jax.weights import published

KNOWN = {"unet": published.UNET, "vae": published.VAE, "text_encoder": published.CLIP, "text_encoder_2": published.CLIP}


def configs(folder: Path) -> list[str]:
    """The configs that are there. Raises WeightsError for one that is not understood."""
    names = [name for name in KNOWN if (folder / name).is_dir()]
    for name in names:
        published.checked(json.loads((folder / name / "config.json").read_text()), KNOWN[name], f"{folder.name}/{name}")
    return names


def otherwise(folder: Path) -> int:
    """How many of the sentences are other tokens."""
    places = [folder / name for name in ("tokenizer", "tokenizer_2") if (folder / name).is_dir()]
    sentences, wrong = list(check.sentences()), 0
    ours = reference.tokens(places, sentences)
    for number, place in enumerate(places):
        theirs = transformers.CLIPTokenizer.from_pretrained(place)
        rows = theirs(sentences, padding="max_length", max_length=77, truncation=True).input_ids
        # Of a sentence that is too long theirs has an end in the place of the last token, and ours a further chunk.
        wrong += int((ours[:, number, :76] != np.array(rows)[:, :76]).any(1).sum())
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        print(f"{folder.name}: understood {', '.join(configs(folder))} and the scheduler, "
              f"{schedules.read(scheduler).sampler}; {otherwise(folder)} of 1,000 sentences are tokenized otherwise",
              flush=True)


if __name__ == "__main__":
    main()
