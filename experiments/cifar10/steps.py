"""Plays steps of R3GAN's published code that tests/games/test_r3gan_steps.py compares with this project's.

    git clone https://github.com/brownvc/R3GAN
    python experiments/cifar10/steps.py --code R3GAN

Weights, batches and latents are those of tests/r3gan_inputs.py; networks, losses and penalties are the clone's, and so
is the form of its schedules. Writes tests/games/r3gan_steps.json. Needs torch and setuptools<81.
"""
import argparse
import copy
import json
import sys
from pathlib import Path

import jax
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import peer  # noqa: E402
import r3gan_inputs as inputs  # noqa: E402

from imggen_jax.nets import r3gan  # noqa: E402


def half_cosine(seen: int, ends: tuple[float, float]) -> float:
    """From the first to the second in SPAN images: `cosine_decay_with_warmup` of training/training_loop.py."""
    share = 0.5 * (1 + np.cos(np.pi * min(1.0, seen / inputs.SPAN)))
    return ends[1] + (ends[0] - ends[1]) * share


def networks(code: Path):
    """(generator, discriminator) of the published code with the weights of the inputs."""
    peer.CLASSES = inputs.CLASSES
    theirs = peer.networks(code, inputs.WIDTH, inputs.BLOCKS, inputs.CARDINALITY, inputs.LATENT, inputs.STAGES)
    width, blocks, groups = ((each,) * inputs.STAGES for each in (inputs.WIDTH, inputs.BLOCKS, inputs.CARDINALITY))
    shape = dict(size=inputs.SIDE, channels=3, classes=inputs.CLASSES, widths=width, blocks=blocks, cardinality=groups,
                 expansion=2, dtype=np.float32)
    label, key = np.zeros(1, np.int32), jax.random.key(0)
    mine = {"discriminator": jax.eval_shape(lambda: r3gan.Discriminator(**shape).init(
                key, np.zeros((1, inputs.SIDE, inputs.SIDE, 3)), label)["params"]),
            "generator": {"synthesis": jax.eval_shape(lambda: r3gan.Generator(**shape).init(
                key, np.zeros((1, inputs.LATENT)), label, True)["params"])}}
    params = inputs.filled(mine)
    theirs[0].load_state_dict(named(params["generator"]["synthesis"], True), strict=False)
    theirs[1].load_state_dict(named(params["discriminator"], False), strict=False)
    return theirs


def named(params: dict, generator: bool) -> dict[str, torch.Tensor]:
    """This project's parameters under the published names."""
    def kernel(one):
        return torch.tensor(np.transpose(one["kernel"], (3, 2, 0, 1)).copy())

    last = inputs.STAGES - 1
    basis = np.transpose(params["basis"], (2, 0, 1))
    place = "MainLayers.0.Layers.0." if generator else f"MainLayers.{last}.Layers.{inputs.BLOCKS}."
    found = {f"{place}Basis{'' if generator else '.weight'}":
                 torch.tensor((basis if generator else basis[:, None]).copy()),
             f"{place}LinearLayer.weight": torch.tensor(params["Dense_0"]["kernel"].T.copy()),
             "EmbeddingLayer.weight": torch.tensor(params["Embed_0"]["embedding"].T.copy()),
             f"{'Aggregation' if generator else 'Extraction'}Layer.Layer.weight": kernel(params["Conv_0"])}
    for number in range(inputs.STAGES * inputs.BLOCKS):
        stage, layer = divmod(number, inputs.BLOCKS)
        block = params[f"Block_{number}"]
        place = f"MainLayers.{stage}.Layers.{layer + generator}."
        found |= {f"{place}LinearLayer{i + 1}.Layer.weight": kernel(block[f"Conv_{i}"]) for i in range(3)}
        found |= {f"{place}NonLinearity{i + 1}.Bias": torch.tensor(block[f"BiasedActivation_{i}"]["bias"])
                  for i in range(2)}
    return found


def latents(number: int, move: int) -> np.ndarray:
    """Those that the game draws in a move of a step."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), number), move)
    return np.array(jax.random.normal(jax.random.split(key, 4)[0], (inputs.BATCH, inputs.LATENT)))


def norm(network) -> float:
    return float(torch.sqrt(sum((one.grad ** 2).sum() for one in network.parameters())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True, help="clone of the published code")
    args = parser.parse_args()
    generator, discriminator = networks(args.code)
    from R3GAN.Trainer import AdversarialTraining
    game, average, data = AdversarialTraining(generator, discriminator), copy.deepcopy(generator), inputs.batches()
    adams = [torch.optim.Adam(net.parameters(), lr=1.0, betas=(0.0, 0.9)) for net in (discriminator, generator)]
    found = {name: [] for name in ("generator", "discriminator", "penalties", "gradients")}
    found["latent"] = latents(0, 0)[0].tolist()
    for number in range(inputs.STEPS):
        seen = number * inputs.BATCH
        gamma = half_cosine(seen, inputs.GAMMAS)
        for adam in adams:
            for group in adam.param_groups:
                group["lr"], group["betas"] = half_cosine(seen, inputs.RATES), (0.0, half_cosine(seen, inputs.BETAS))
        real = torch.from_numpy(np.ascontiguousarray(data["image"][number].transpose(0, 3, 1, 2))).float() / 127.5 - 1
        label = torch.nn.functional.one_hot(torch.from_numpy(data["label"][number]).long(), inputs.CLASSES).float()
        discriminator.requires_grad_(True)
        adams[0].zero_grad()
        loss, _, r1, r2 = game.AccumulateDiscriminatorGradients(torch.tensor(latents(number, 0)), real, label, gamma)
        penalties = gamma / 2 * (r1 + r2).mean().item()
        norms = [norm(discriminator)]
        adams[0].step()
        discriminator.requires_grad_(False)
        adams[1].zero_grad()
        made, _ = game.AccumulateGeneratorGradients(torch.tensor(latents(number, 1)), real, label)
        norms.append(norm(generator))
        adams[1].step()
        keep = 0.5 ** (inputs.BATCH / max(half_cosine(seen, inputs.HALFLIVES), 1e-8))
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), generator.parameters()):
                mine.lerp_(theirs, 1 - keep)
        found["discriminator"].append(loss.mean().item() + penalties)
        found["generator"].append(made.mean().item())
        found["penalties"].append(penalties)
        found["gradients"].append(norms)
    label = torch.nn.functional.one_hot(torch.from_numpy(data["label"][0]).long(), inputs.CLASSES).float()
    with torch.no_grad():
        images = average(torch.ones(inputs.BATCH, inputs.LATENT), label).clamp(-1, 1)
    found["image"] = images[0, 0, ::5, ::5].tolist()
    (ROOT / "tests" / "games" / "r3gan_steps.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
