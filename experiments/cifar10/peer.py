"""Trains the published R3GAN code, in PyTorch and on the CPU, as `cifar10.py train` trains this project's.

    git clone https://github.com/brownvc/R3GAN
    python experiments/cifar10/peer.py --code R3GAN --data runs/cifar10/data.npz --seed 0 --out runs/cifar10/peer_0

Networks, initial weights, losses and penalties are those of the clone; its training loop runs on CUDA only, so the loop
is here, with the constants of `cifar10.py`. The pictures of the moving average are written every so many images, and
the processor time to cost.json. Needs torch, numpy and setuptools<81.
"""
import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

CLASSES = 10


def networks(code: Path, width: int, blocks: int, groups: int, latent: int, stages: int = 4):
    """(generator, discriminator) of the published code, with its operators that need no CUDA."""
    sys.path.insert(0, str(code))
    from R3GAN import FusedOperators, Networks, Resamplers
    Networks.BiasedActivation = FusedOperators.BiasedActivationReference
    Networks.InterpolativeUpsampler = Resamplers.InterpolativeUpsamplerReference
    Networks.InterpolativeDownsampler = Resamplers.InterpolativeDownsamplerReference
    shape = ([width] * stages, [groups] * stages, [blocks] * stages, 2)
    return (Networks.Generator(latent, *shape, ConditionDimension=CLASSES, ConditionEmbeddingDimension=latent),
            Networks.Discriminator(*shape, ConditionDimension=CLASSES, ConditionEmbeddingDimension=width))


def batches(images: np.ndarray, labels: np.ndarray, batch: int, random: np.random.Generator):
    """Every picture once an epoch, half of them mirrored: (float [B,3,32,32] in [-1,1], one-hot [B,10])."""
    while True:
        order = random.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start:start + batch]
            chosen = np.where((random.random(batch) < 0.5)[:, None, None, None], images[rows, :, ::-1], images[rows])
            yield (torch.from_numpy(np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))).float() / 127.5 - 1,
                   torch.nn.functional.one_hot(torch.from_numpy(labels[rows]).long(), CLASSES).float())


def write(average, latent: int, number: int, path: Path) -> None:
    """`number` pictures of classes drawn at random, as this project's samples are."""
    random = torch.Generator().manual_seed(1_000_000)
    z = torch.randn(number, latent, generator=random)
    label = torch.nn.functional.one_hot(torch.randint(CLASSES, (number,), generator=random), CLASSES)
    label = label.float()
    with torch.no_grad():
        images = torch.cat([average(*pair) for pair in zip(z.split(250), label.split(250))])
    # Rounded as this project's images are.
    pixels = torch.round((images.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1)
    np.savez_compressed(path, images=pixels.numpy())


def rate(seen: int, images: int, peak: float, final: float) -> float:
    return peak * (final + (1 - final) * 0.5 * (1 + np.cos(np.pi * seen / images)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True, help="clone of the published code")
    parser.add_argument("--data", type=Path, required=True, help="from `cifar10.py data`, beside constants.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    c = json.loads((args.data.parent / "constants.json").read_text())
    torch.manual_seed(args.seed)
    with np.load(args.data) as data:
        stream = batches(data["images"], data["labels"], c["batch"], np.random.default_rng(args.seed))
    generator, discriminator = networks(args.code, c["width"], c["blocks"], c["cardinality"], c["latent"])
    from R3GAN.Trainer import AdversarialTraining
    game, average = AdversarialTraining(generator, discriminator), copy.deepcopy(generator)
    adams = [torch.optim.Adam(net.parameters(), lr=c["learning_rate"], betas=(0.0, 0.99))
             for net in (discriminator, generator)]
    args.out.mkdir(parents=True)
    keep, losses = 0.5 ** (c["batch"] / c["halflife"]), []
    for step in range(1, -(-c["images"] // c["batch"]) + 1):
        for adam in adams:
            for group in adam.param_groups:
                group["lr"] = rate((step - 1) * c["batch"], c["images"], c["learning_rate"], c["final"])
        real, label = next(stream)
        discriminator.requires_grad_(True)
        adams[0].zero_grad()
        loss = game.AccumulateDiscriminatorGradients(torch.randn(c["batch"], c["latent"]), real, label, c["gamma"])
        adams[0].step()
        discriminator.requires_grad_(False)
        adams[1].zero_grad()
        game.AccumulateGeneratorGradients(torch.randn(c["batch"], c["latent"]), real, label)
        adams[1].step()
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), generator.parameters()):
                mine.lerp_(theirs, 1 - keep)
        losses.append(loss[0].mean().item())
        seen = step * c["batch"]
        if seen % c["every"] < c["batch"]:
            write(average, c["latent"], c["pictures"], args.out / f"fake_{seen:09d}.npz")
            (args.out / "cost.json").write_text(json.dumps({"images": seen, "cpu_seconds": time.process_time()}))
            print(f"{seen} images, {time.process_time():.0f} s, discriminator {np.mean(losses[-50:]):.3f}", flush=True)


if __name__ == "__main__":
    main()
