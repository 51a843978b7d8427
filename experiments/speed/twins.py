"""The PyTorch side: the same networks, losses, penalties, optimizers and averages, as its users would write them.

channels_last, fused Adam, `foreach` averages, no host round trip inside a step. `pairs` lays each module's parameters
beside ours, so that weights can be put in and gradients compared.
"""
from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator

import cases
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SLOPE = 0.2


def pixels(x: torch.Tensor) -> torch.Tensor:
    """[B,C,H,W] -> [B,H*W*C] in the order of NHWC; free in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def to_map(x: torch.Tensor, side: int) -> torch.Tensor:
    return x.reshape(x.shape[0], side, side, -1).permute(0, 3, 1, 2)


def conv_pairs(layer, p) -> Iterator:
    yield layer.weight, np.transpose(p["kernel"], (3, 2, 0, 1))
    if layer.bias is not None:
        yield layer.bias, p["bias"]


def transposed_pairs(layer, p) -> Iterator:
    yield layer.weight, np.transpose(p["kernel"], (2, 3, 0, 1))
    yield layer.bias, p["bias"]


def dense_pairs(layer, p) -> Iterator:
    yield layer.weight, np.transpose(p["kernel"])
    if layer.bias is not None:
        yield layer.bias, p["bias"]


# ------------------------------------------------------------------------------------------------------------- DCGAN


class DcganGenerator(nn.Module):
    def __init__(self, shape, latent, width):
        super().__init__()
        self.base, times = 4, int(math.log2(shape.side // 4))
        width <<= times - 1
        self.dense = nn.Linear(latent, 16 * width)
        self.norms, self.convs = nn.ModuleList([nn.BatchNorm2d(width)]), nn.ModuleList()
        for _ in range(times - 1):
            self.convs.append(nn.ConvTranspose2d(width, width // 2, 4, 2, 1))
            width //= 2
            self.norms.append(nn.BatchNorm2d(width))
        self.convs.append(nn.ConvTranspose2d(width, shape.channels, 4, 2, 1))

    def forward(self, z, label=None):
        x = to_map(self.dense(z), self.base)
        for norm, conv in zip(self.norms, self.convs):
            x = conv(F.relu(norm(x)))
        return torch.tanh(x)

    def pairs(self, p):
        yield from dense_pairs(self.dense, p["Dense_0"])
        for i, norm in enumerate(self.norms):
            yield norm.weight, p[f"BatchNorm_{i}"]["scale"]
            yield norm.bias, p[f"BatchNorm_{i}"]["bias"]
        for i, conv in enumerate(self.convs):
            yield from transposed_pairs(conv, p[f"ConvTranspose_{i}"])


class DcganDiscriminator(nn.Module):
    def __init__(self, shape, width):
        super().__init__()
        channels = [shape.channels] + [width << i for i in range(int(math.log2(shape.side // 4)))]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(channels, channels[1:]))
        self.dense = nn.Linear(16 * channels[-1], 1)

    def forward(self, x, label=None):
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.dense(pixels(x))[:, 0]

    def pairs(self, p):
        for i, conv in enumerate(self.convs):
            yield from conv_pairs(conv, p[f"Conv_{i}"])
        yield from dense_pairs(self.dense, p["Dense_0"])


# ------------------------------------------------------------------------------------------------------------- R3GAN


# As sums of slices: the whole step is 12% faster than with depthwise convolutions, whose second derivatives go group by
# group.


class Up(nn.Module):
    def forward(self, x):
        for axis, pad in ((2, (0, 0, 1, 1)), (3, (1, 1))):
            side, padded = x.shape[axis], F.pad(x, pad)
            before, after = padded.narrow(axis, 0, side), padded.narrow(axis, 2, side)
            y = torch.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
            x = y.flatten(axis, axis + 1)
        return x.contiguous(memory_format=torch.channels_last)


class Down(nn.Module):
    def forward(self, x):
        for axis, pad in ((2, (0, 0, 1, 1)), (3, (1, 1))):
            every = F.pad(x, pad).unfold(axis, 4, 2)
            x = 0.375 * (every[..., 1] + every[..., 2]) + 0.125 * (every[..., 0] + every[..., 3])
        return x


class Block(nn.Module):
    def __init__(self, width, cardinality, expansion):
        super().__init__()
        wide = width * expansion
        self.a, self.c = nn.Conv2d(width, wide, 1, bias=False), nn.Conv2d(wide, width, 1, bias=False)
        self.b = nn.Conv2d(wide, wide, 3, padding=1, groups=cardinality, bias=False)
        self.bias_a, self.bias_b = (nn.Parameter(torch.zeros(wide, 1, 1)) for _ in range(2))

    def forward(self, x):
        y = F.leaky_relu(self.a(x) + self.bias_a, SLOPE)
        return x + self.c(F.leaky_relu(self.b(y) + self.bias_b, SLOPE))

    def pairs(self, p):
        for i, conv in enumerate((self.a, self.b, self.c)):
            yield from conv_pairs(conv, p[f"Conv_{i}"])
        for i, bias in enumerate((self.bias_a, self.bias_b)):
            yield bias, p[f"BiasedActivation_{i}"]["bias"][:, None, None]


class R3ganGenerator(nn.Module):
    def __init__(self, shape, latent, net):
        super().__init__()
        width, = set(net["widths"])
        self.embed = nn.Embedding(shape.classes, latent) if shape.classes else None
        self.basis = nn.Parameter(torch.zeros(width, 4, 4))
        self.dense = nn.Linear(latent * (2 if shape.classes else 1), width, bias=False)
        self.stages = nn.ModuleList(
            nn.ModuleList(([Up()] if i else []) + [Block(width, g, net["expansion"]) for _ in range(n)])
            for i, (n, g) in enumerate(zip(net["blocks"], net["cardinality"])))
        self.last = nn.Conv2d(width, shape.channels, 1, bias=False)

    def forward(self, z, label=None):
        if self.embed is not None:
            z = torch.cat([z, self.embed(label)], 1)
        x = (self.basis * self.dense(z)[:, :, None, None]).contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
        return self.last(x)

    def pairs(self, p):
        yield self.basis, np.transpose(p["basis"], (2, 0, 1))
        yield from dense_pairs(self.dense, p["Dense_0"])
        yield from stage_pairs(self, p)
        yield from conv_pairs(self.last, p["Conv_0"])


class R3ganDiscriminator(nn.Module):
    def __init__(self, shape, net):
        super().__init__()
        width, = set(net["widths"])
        self.embed = nn.Embedding(shape.classes, width) if shape.classes else None
        self.first = nn.Conv2d(shape.channels, width, 1, bias=False)
        self.stages = nn.ModuleList(
            nn.ModuleList(([Down()] if i else []) + [Block(width, g, net["expansion"]) for _ in range(n)])
            for i, (n, g) in enumerate(zip(net["blocks"], net["cardinality"])))
        self.basis = nn.Parameter(torch.zeros(width, 4, 4))
        self.dense = nn.Linear(width, width if shape.classes else 1, bias=False)

    def forward(self, x, label=None):
        x = self.first(x)
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
        x = self.dense((x * self.basis).sum((2, 3)))
        return (x * self.embed(label)).sum(1) if self.embed is not None else x[:, 0]

    def pairs(self, p):
        yield from conv_pairs(self.first, p["Conv_0"])
        yield from stage_pairs(self, p)
        yield self.basis, np.transpose(p["basis"], (2, 0, 1))
        yield from dense_pairs(self.dense, p["Dense_0"])


def stage_pairs(network, p):
    if network.embed is not None:
        yield network.embed.weight, p["Embed_0"]["embedding"]
    blocks = [layer for stage in network.stages for layer in stage if isinstance(layer, Block)]
    for i, block in enumerate(blocks):
        yield from block.pairs(p[f"Block_{i}"])


def diff_augment(x: torch.Tensor, policy) -> torch.Tensor:
    """Color, translation by up to 1/8, cutout of half the side."""
    B, _, H, W = x.shape
    if "color" in policy:
        brightness, saturation, contrast = torch.rand(3, B, 1, 1, 1, device=x.device)
        x = x + (brightness - 0.5)
        gray = x.mean(1, keepdim=True)
        x = gray + (x - gray) * (2 * saturation)
        middle = x.mean((1, 2, 3), keepdim=True)
        x = middle + (x - middle) * (contrast + 0.5)
    if "translation" in policy:
        reach = round(H / 8)
        by = torch.randint(-reach, reach + 1, (2, B, 1), device=x.device)
        rows = (torch.arange(H, device=x.device) - by[0] + 1).clamp(0, H + 1)
        columns = (torch.arange(W, device=x.device) - by[1] + 1).clamp(0, W + 1)
        padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
        image = torch.arange(B, device=x.device)[:, None, None]
        x = padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if "cutout" in policy:
        box = round(H / 2)
        start = torch.randint(0, H + 1 - box % 2, (2, B, 1), device=x.device) - box // 2
        at = torch.arange(H, device=x.device) - start
        inside = (at >= 0) & (at < box)
        x = x * ~(inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    return x


# --------------------------------------------------------------------------------------------------------------- VAE


class VaeBlock(nn.Module):
    def __init__(self, width, dense):
        super().__init__()
        self.a, self.b = (nn.Linear(width, width) if dense else nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.b(F.silu(self.a(F.silu(x))))

    def pairs(self, p):
        each, name = (dense_pairs, "Dense") if isinstance(self.a, nn.Linear) else (conv_pairs, "Conv")
        yield from each(self.a, p[f"{name}_0"])
        yield from each(self.b, p[f"{name}_1"])


def to_patches(x: torch.Tensor) -> torch.Tensor:
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate") if x.shape[2] % 2 else x
    B, C, H, W = x.shape
    x = x.permute(0, 2, 3, 1).reshape(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H // 2, W // 2, 4 * C).permute(0, 3, 1, 2)


def from_patches(x: torch.Tensor, side: int) -> torch.Tensor:
    B, C, H, W = x.shape
    x = x.permute(0, 2, 3, 1).reshape(B, H, W, 2, 2, C // 4).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(B, 2 * H, 2 * W, C // 4)[:, :side, :side].permute(0, 3, 1, 2)


class VaeEncoder(nn.Module):
    def __init__(self, shape, latent, net):
        super().__init__()
        channels, side = shape.channels, shape.side
        self.downs, self.blocks = nn.ModuleList(), nn.ModuleList()
        for level, (width, blocks) in enumerate(zip(net["widths"], net["blocks"])):
            self.downs.append(nn.Conv2d(4 * channels, width, 1 if level else 3, padding=0 if level else 1))
            self.blocks.append(nn.ModuleList(VaeBlock(width, False) for _ in range(blocks)))
            channels, side = width, -(-side // 2)
        self.dense = nn.Linear(channels * side * side, net["hidden"])
        self.bottom = nn.ModuleList(VaeBlock(net["hidden"], True) for _ in range(net["dense_blocks"]))
        self.out = nn.Linear(net["hidden"], 2 * latent)

    def forward(self, x):
        for down, blocks in zip(self.downs, self.blocks):
            x = down(to_patches(x))
            for block in blocks:
                x = block(x)
        x = self.dense(pixels(F.silu(x)))
        for block in self.bottom:
            x = block(x)
        return self.out(F.silu(x)).chunk(2, 1)

    def pairs(self, p):
        yield from numbered(self, p, self.downs, self.blocks)
        yield from dense_pairs(self.dense, p["Dense_0"])
        yield from dense_pairs(self.out, p["Dense_1"])


class VaeDecoder(nn.Module):
    def __init__(self, shape, latent, net):
        super().__init__()
        self.sides = [shape.side]
        for _ in net["widths"]:
            self.sides.append(-(-self.sides[-1] // 2))
        self.dense = nn.Linear(latent, net["hidden"])
        self.bottom = nn.ModuleList(VaeBlock(net["hidden"], True) for _ in range(net["dense_blocks"]))
        self.unfold = nn.Linear(net["hidden"], self.sides[-1] ** 2 * net["widths"][-1])
        levels = list(reversed(range(len(net["widths"]))))
        self.blocks = nn.ModuleList(
            nn.ModuleList(VaeBlock(net["widths"][i], False) for _ in range(net["blocks"][i])) for i in levels)
        self.ups = nn.ModuleList(nn.Conv2d(net["widths"][i], 4 * (net["widths"][i - 1] if i else shape.channels), 1)
                                 for i in levels)

    def forward(self, z):
        x = self.dense(z)
        for block in self.bottom:
            x = block(x)
        x = to_map(self.unfold(F.silu(x)), self.sides[-1])
        for i, (blocks, up) in enumerate(zip(self.blocks, self.ups)):
            for block in blocks:
                x = block(x)
            last = i + 1 == len(self.ups)
            x = from_patches(up(F.silu(x) if last else x), self.sides[-2 - i])
        return x

    def pairs(self, p):
        yield from dense_pairs(self.dense, p["Dense_0"])
        yield from dense_pairs(self.unfold, p["Dense_1"])
        yield from numbered(self, p, self.ups, self.blocks, dense_first=True)


def numbered(network, p, convs, blocks, dense_first=False):
    """Ours number the blocks in the order of use, dense ones included."""
    for i, conv in enumerate(convs):
        yield from conv_pairs(conv, p[f"Conv_{i}"])
    maps = [block for stage in blocks for block in stage]
    order = [*network.bottom, *maps] if dense_first else [*maps, *network.bottom]
    for i, block in enumerate(order):
        yield from block.pairs(p[f"Block_{i}"])


# ------------------------------------------------------------------------------------------------------------- steps


class Twin:
    """A case in PyTorch: networks, one loss for each move, and the whole training step."""

    def __init__(self, case: cases.Case, compiled: bool, device: str = "cpu", **overrides):
        self.settings, self.shape, self.device = cases.settings(case, **overrides), case.shape, device
        self.game, self.compiled = self.settings.game, compiled
        self.bfloat16 = self.settings.train.dtype == "bfloat16"
        self.batch, self.latent = self.settings.train.batch, self.game["latent"]
        if self.game["name"] == "gan":
            g, d = self.game["generator"], self.game["discriminator"]
            if g["name"] == "dcgan":
                networks = {"generator": DcganGenerator(self.shape, self.latent, g["width"]),
                            "discriminator": DcganDiscriminator(self.shape, d["width"])}
            else:
                networks = {"generator": R3ganGenerator(self.shape, self.latent, g),
                            "discriminator": R3ganDiscriminator(self.shape, d)}
        else:
            net = self.game["network"]
            networks = {"vae": nn.ModuleDict({"encoder": VaeEncoder(self.shape, self.latent, net),
                                              "decoder": VaeDecoder(self.shape, self.latent, net)})}
            if self.game["likelihood"] == "gaussian":
                networks["vae"].log_sigma = nn.Parameter(torch.tensor(-2.0))
        self.networks = {who: n.to(device, memory_format=torch.channels_last) for who, n in networks.items()}
        self.average = {who: copy.deepcopy(n) for who, n in self.networks.items() if who != "discriminator"}
        self.optimizers, self.schedules = {}, {}
        for who, o in self.settings.players.items():
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[o["optimizer"]]
            decay = {"weight_decay": o["weight_decay"]} if "weight_decay" in o else {}
            self.optimizers[who] = kind(self.networks[who].parameters(), lr=o["learning_rate"],
                                        betas=(o.get("b1", 0.9), o["b2"]), fused=True, **decay)
            factor = self.learning_rate(o["warmup"] / self.batch, self.settings.train.images / self.batch, o["final"])
            self.schedules[who] = torch.optim.lr_scheduler.LambdaLR(self.optimizers[who], factor)
        self.seen = 0
        self.step = {"gan": self.gan_step, "vae": self.vae_step}[self.game["name"]]
        if compiled:
            for who, n in self.networks.items():
                if who == "vae":
                    n["encoder"].compile()
                    n["decoder"].compile()
                else:
                    n.compile()
            self.vae_terms = torch.compile(self.vae_terms)

    @staticmethod
    def learning_rate(warmup, steps, final):
        """Linear warm-up, then a cosine."""
        def factor(step):
            if step < warmup:
                return (step + 1) / warmup
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / steps))

        return factor

    def autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def put(self, params) -> None:
        """Our parameters into these networks."""
        with torch.no_grad():
            for mine, theirs in self.pairs(params):
                mine.copy_(torch.from_numpy(np.array(theirs)))

    def pairs(self, params) -> Iterator:
        for who, network in self.networks.items():
            if who == "vae":
                yield from network["encoder"].pairs(params[who]["encoder"])
                yield from network["decoder"].pairs(params[who]["decoder"])
                if "log_sigma" in params[who]:
                    yield network.log_sigma, params[who]["log_sigma"]
            else:
                mine = params[who]
                yield from network.pairs(mine["synthesis"] if who == "generator" else mine)

    # GAN

    def judge(self, x, label):
        return self.networks["discriminator"](diff_augment(x, self.game["augment"]), label)

    def penalized(self, images, label, gamma):
        if not gamma:
            return self.judge(images, label), 0.0
        images = images.detach().requires_grad_()
        logits = self.judge(images, label)
        gradient, = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, gamma / 2 * gradient.square().sum((1, 2, 3))

    def discriminator_loss(self, real, label, z):
        with self.autocast():
            with torch.no_grad():
                fake = self.networks["generator"](z, label)
            real_logits, r1 = self.penalized(real, label, self.game["r1"])
            fake_logits, r2 = self.penalized(fake.float(), label, self.game["r2"])
            if self.game["loss"] == "relativistic":
                terms = F.softplus(fake_logits - real_logits)
            else:
                terms = F.softplus(-real_logits) + F.softplus(fake_logits)
            return (terms + r1 + r2).mean()

    def generator_loss(self, real, label, z):
        with self.autocast():
            fake_logits = self.judge(self.networks["generator"](z, label), label)
            if self.game["loss"] != "relativistic":
                return F.softplus(-fake_logits).mean()
            with torch.no_grad():
                real_logits = self.judge(real, label)
            return F.softplus(real_logits - fake_logits).mean()

    def gan_step(self, images, label):
        real = self.to_float(self.flipped(images))
        logs = []
        for who, loss in (("discriminator", self.discriminator_loss), ("generator", self.generator_loss)):
            others = [n for name, n in self.networks.items() if name != who]
            for n in others:
                n.requires_grad_(False)
            z = torch.randn(self.batch, self.latent, device=self.device)
            logs += self.descend(who, loss(real, label, z))
            for n in others:
                n.requires_grad_(True)
        self.update_average("generator")
        return logs

    # VAE

    def vae_terms(self, x, noise):
        vae = self.networks["vae"]
        mean, log_variance = vae["encoder"](x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        out = vae["decoder"](z).float()
        if self.game["likelihood"] == "bernoulli":
            log_p = ((x + 1) / 2 * out - F.softplus(out)).sum((1, 2, 3))
        else:
            scaled = (x - out) * torch.exp(-vae.log_sigma)
            each = -0.5 * scaled.square() - vae.log_sigma - 0.5 * math.log(2 * math.pi) + math.log(1 / 127.5)
            log_p = each.sum((1, 2, 3))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return log_p, kl

    def vae_loss(self, x, noise, seen):
        warmup = self.game["warmup"]
        weight = self.game["beta"] * (min(1.0, seen / warmup) if warmup else 1.0)
        with self.autocast():
            log_p, kl = self.vae_terms(x, noise)
        return (weight * kl - log_p).mean()

    def vae_step(self, images, label):
        x = self.to_float(self.flipped(images))
        if self.game["likelihood"] == "bernoulli":
            x = torch.where(torch.rand_like(x) < (x + 1) / 2, 1.0, -1.0)
        else:
            x = x + (torch.rand_like(x) - 0.5) / 127.5
        noise = torch.randn(self.batch, self.latent, device=self.device)
        logs = self.descend("vae", self.vae_loss(x, noise, self.seen))
        self.update_average("vae")
        return logs

    # Both

    def flipped(self, images):
        if not self.settings.data.flip:
            return images
        mirror = torch.rand(images.shape[0], 1, 1, 1, device=self.device) < 0.5
        return torch.where(mirror, images.flip(3), images)

    @staticmethod
    def to_float(images):
        return images.float() / 127.5 - 1

    def descend(self, who, loss):
        optimizer = self.optimizers[who]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip = self.settings.players[who]["clip"] or math.inf
        norm = nn.utils.clip_grad_norm_(self.networks[who].parameters(), clip, foreach=True)
        optimizer.step()
        self.schedules[who].step()
        return [loss.detach(), norm]

    def update_average(self, who):
        self.seen += self.batch
        halflife = min(self.settings.ema.halflife, self.settings.ema.rampup * self.seen)
        rate = 1 - 0.5 ** (self.batch / max(halflife, 1e-6))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average[who].parameters()), list(self.networks[who].parameters()), rate)


def training(case: cases.Case, compiled: bool, device: str = "cpu", **overrides) -> tuple[Callable, int]:
    """(a function that runs some steps, by default all, and returns their seconds; the number of all)."""
    from ours import noise

    twin = Twin(case, compiled, device, **overrides)
    steps_per_call = twin.settings.devices.steps_per_call
    batches = noise(case.shape, steps_per_call, twin.batch)
    images = torch.from_numpy(batches["image"]).permute(0, 1, 4, 2, 3)
    labels = torch.from_numpy(batches["label"]).long() if case.shape.classes else [None] * steps_per_call

    def call(steps: int = steps_per_call) -> float:
        start = time.perf_counter()
        logs = []
        for image, label in zip(images[:steps], labels):
            logs += twin.step(image.to(device), None if label is None else label.to(device))
        assert np.isfinite(torch.stack(logs).cpu().numpy()).all()
        return time.perf_counter() - start

    return call, steps_per_call


def sampling(case: cases.Case, compiled: bool, number: int) -> Callable:
    """A function that makes `number` images, uint8 on the host, in one batch; returns its seconds."""
    twin = Twin(case, compiled=False)
    if twin.game["name"] == "gan":
        network, finish = twin.average["generator"].eval(), lambda x: x
    else:
        network = twin.average["vae"]["decoder"].eval()
        finish = torch.sigmoid if twin.game["likelihood"] == "bernoulli" else (lambda x: x)
    labels = (torch.zeros(number, dtype=torch.long),) if case.shape.classes else ()

    def make(z):
        x = finish(network(z, *labels))
        return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)

    program = torch.compile(make) if compiled else make

    @torch.inference_mode()
    def call() -> float:
        start = time.perf_counter()
        np.ascontiguousarray(program(torch.randn(number, twin.latent)).numpy())
        return time.perf_counter() - start

    return call
