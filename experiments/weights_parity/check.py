"""Compare networks of others, read by imggen_jax, with their implementations in PyTorch, on the same random weights.

Run by `make parity` in an environment of its own, since only these checks need torch. Every file is written by torch
or safetensors, loaded by `imggen_jax.load` and, as a state dict, by the reference: spandrel, and where folders are
given, the authors' own code. Prints a table and writes results.json beside this file and, with --golden, the values
with which tests/weights compare.
"""
from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(HERE.parent)]

import reference_weights as reference  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch_packages import import_torchvision  # noqa: E402

from imggen_jax import load  # noqa: E402

BOUND = 1e-4  # of values in [-1,1]
GOLDEN = ROOT / "tests" / "weights" / "golden.json"
KEPT = 60     # values of a result that it has, at most twice as many


class Case(NamedTuple):
    """One network of one size."""

    title: str
    file: str                    # its name
    shapes: dict                 # of its arrays, by name
    run: Callable                # (state, fields as torch tensors, options) -> tensor [1,C,H,W] in [-1,1]
    last: tuple                  # of `reference.state`: the last layer, factor, shift, and for some gain
    size: tuple[int, int]        # of the source
    golden: str = ""             # name in the golden file
    prefix: tuple = ("", "")     # of the reference's names, and what stands for it in the file
    wrapper: str = ""            # the name of the dictionary around the state dict
    options: dict = {}
    other: tuple = ()            # another file that is needed: name, shapes, last
    script: Callable | None = None  # state -> a module to be saved as TorchScript


def tensors(state):
    return {name: torch.from_numpy(array) for name, array in state.items()}


def to_unit(image):
    return image * 0.5 + 0.5


def by_spandrel(state, fields, options):
    """Any network that spandrel knows, on pictures in [0,1]."""
    from spandrel import ModelLoader

    net = ModelLoader().load_from_state_dict(dict(state)).model.eval()
    given = [to_unit(fields["source"]), *([fields["mask"]] if "mask" in fields else [])]
    return net(*given) * 2 - 1


def convs(*layers):
    """{name.weight, name.bias} of (name, out, in, side)."""
    return {key: shape for name, out, into, side in layers
            for key, shape in ((f"{name}.weight", (out, into, side, side)), (f"{name}.bias", (out,)))}


def rrdb(spelling, width=64, blocks=23, doublings=2, channels=3, folded=1, growth=32):
    """Names and shapes of RRDBNet in one of its three spellings."""
    end = 3 * doublings
    names = {
        "new": ("conv_first", "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr", "conv_last"),
        "bsrgan": ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last"),
        "old": ("model.0", "model.1.sub.{}.RDB{}.conv{}.0", f"model.1.sub.{blocks}", "", f"model.{end + 2}",
                f"model.{end + 4}")}[spelling]
    ups = [f"model.{3 * n}" if spelling == "old" else names[3].format(n) for n in range(1, doublings + 1)]
    dense = [(names[1].format(i, j, k), growth if k < 5 else width, width + growth * (k - 1), 3)
             for i in range(blocks) for j in (1, 2, 3) for k in range(1, 6)]
    return convs((names[0], width, channels * folded**2, 3), *dense, (names[2], width, width, 3),
                 *((up, width, width, 3) for up in ups), (names[4], width, width, 3), (names[5], channels, width, 3))


def compact(width=64, layers=16, scale=4):
    slopes = {f"body.{2 * i + 1}.weight": (width,) for i in range(layers + 1)}
    return slopes | convs(("body.0", width, 3, 3), *((f"body.{2 * i}", width, width, 3) for i in range(1, layers + 1)),
                          (f"body.{2 * layers + 2}", 3 * scale**2, width, 3))


def span(width=48, scale=4):
    def parts(name, into):
        return [(f"{name}.sk", width, into, 1), (f"{name}.conv.0", 2 * into, into, 1),
                (f"{name}.conv.1", 2 * width, 2 * into, 3), (f"{name}.conv.2", width, 2 * width, 1),
                (f"{name}.eval_conv", width, into, 3)]
    return convs(*parts("conv_1", 3), *(part for i in range(1, 7) for k in (1, 2, 3)
                                        for part in parts(f"block_{i}.c{k}_r", width)),
                 *parts("conv_2", width), ("conv_cat", width, 4 * width, 1), ("upsampler.0", 3 * scale**2, width, 3))


def lama(width=64, blocks=18):
    """(spandrel's LaMa of a size, names and shapes, a function for `Case.run`)."""
    from spandrel.architectures.LaMa import LaMa

    def make():
        net = LaMa(in_nc=4, out_nc=3)
        generator = sys.modules[LaMa.__module__].FFCResNetGenerator
        net.model = generator(4, 3, ngf=width, n_blocks=blocks)
        return net.eval()

    def filled(state):
        net = make()
        net.load_state_dict(state)
        return net

    def run(state, fields, options):
        return filled(state)(to_unit(fields["source"]), fields["mask"]) * 2 - 1

    return filled, shapes_of(make()), run


def shapes_of(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def of_module(make, own=None):
    """(names and shapes, a function for `Case.run`) of a module on pictures in [-1,1].

    own: as in the authors' test, batch normalization by the picture's own statistics; None where there is none.
    """
    def run(state, fields, options):
        net = make()
        net.load_state_dict(state)
        net.train(bool(own))
        for dropout in (each for each in net.modules() if isinstance(each, torch.nn.Dropout)):
            dropout.eval()
        return net(fields["source"])

    return shapes_of(make()), run


def spandrel_cases():
    """Those for which spandrel is the reference."""
    sr = (28, 21)
    yield Case("RRDBNet, 23 blocks, x4", "RealESRGAN_x4plus.pth", rrdb("new"), by_spandrel, ("conv_last", 0.1, 0.5), sr,
               wrapper="params_ema")
    yield Case("RRDBNet, 6 blocks, x4", "RealESRGAN_x4plus_anime_6B.pth", rrdb("new", blocks=6), by_spandrel,
               ("conv_last", 0.1, 0.5), sr, wrapper="params_ema")
    yield Case("RRDBNet, x2, odd sides", "RealESRGAN_x2plus.pth", rrdb("new", folded=2), by_spandrel,
               ("conv_last", 0.1, 0.5), (24, 20), wrapper="params")
    yield Case("RRDBNet, old names", "ESRGAN_x4.pth", rrdb("old"), by_spandrel, ("model.10", 0.1, 0.5), sr)
    yield Case("RRDBNet, BSRGAN's names", "BSRGAN.pth", rrdb("bsrgan"), by_spandrel, ("conv_last", 0.1, 0.5), sr)
    yield Case("RRDBNet, BSRGAN's names, x2", "BSRGANx2.pth", rrdb("bsrgan", doublings=1), by_spandrel,
               ("conv_last", 0.1, 0.5), sr)
    small = {"width": 8, "blocks": 2, "growth": 32}
    yield Case("RRDBNet, small, x4", "small.safetensors", rrdb("new", **small), by_spandrel, ("conv_last", 0.1, 0.5),
               (7, 6), golden="rrdb")
    yield Case("RRDBNet, small, old names, x1", "small_old.pth", rrdb("old", **small, doublings=2, folded=4),
               by_spandrel, ("model.10", 0.1, 0.5), (8, 12), golden="rrdb_old_x1")
    yield Case("RRDBNet, small, BSRGAN's names, x2", "small_bsrgan.pth", rrdb("bsrgan", **small, doublings=1),
               by_spandrel, ("conv_last", 0.1, 0.5), (7, 6), golden="rrdb_bsrgan_x2")
    yield from compact_cases()
    yield Case("SPAN, x4", "span.pth", span(), by_spandrel, ("upsampler.0", 1e-3, 0.5), sr, wrapper="params")
    yield Case("SPAN, x2, not normalized", "span_x2.safetensors", span(52, 2) | {"no_norm": (1,)}, by_spandrel,
               ("upsampler.0", 0.1, 0.5), sr)
    yield Case("SPAN, small, x2", "span_small.pth", span(8, 2), by_spandrel, ("upsampler.0", 1e-3, 0.5), (9, 7),
               golden="span")
    for title, size, sides, golden in (("big-lama", {}, (64, 48), ""),
                                       ("LaMa, small", {"width": 4, "blocks": 2}, (32, 24), "lama")):
        filled, shapes, run = lama(**size)
        last = next(name for name in reversed(shapes) if name.endswith(".bias")).removesuffix(".bias"), 0.3, 0.0
        yield Case(f"{title}, TorchScript", "big-lama.pt", shapes, run, last, sides, script=filled, golden=golden)
        yield Case(f"{title}, state dict", "best.ckpt", shapes, run, last, sides, wrapper="state_dict",
                   prefix=("model.model.", "generator.model."))


def compact_cases():
    """SRVGGNetCompact, alone and as Real-ESRGAN's denoise strength d blends two: d first + (1 - d) second."""
    def blended(state, fields, options):
        other, d = tensors(reference.state(compact(), 8, "body.34", 0.05, 0.0)), options["denoise"]
        return by_spandrel({name: d * state[name] + (1 - d) * other[name] for name in state}, fields, {})

    yield Case("SRVGGNetCompact, 32 layers, x4", "realesr.pth", compact(layers=32), by_spandrel, ("body.66", 0.05, 0.0),
               (28, 21), wrapper="params")
    yield Case("SRVGGNetCompact, blend", "realesr-general-x4v3.pth", compact(), blended, ("body.34", 0.05, 0.0),
               (28, 21), wrapper="params", options={"denoise": 0.3},
               other=("realesr-general-wdn-x4v3.pth", compact(), ("body.34", 0.05, 0.0)))
    yield Case("SRVGGNetCompact, small, x2", "compact.pth", compact(8, 2, 2), by_spandrel, ("body.6", 0.05, 0.0),
               (9, 7), golden="compact")


def cut_cases(folder):
    """Generators of the code of CUT (github.com/taesungp/contrastive-unpaired-translation), which has CycleGAN's and
    pix2pix's too."""
    package = types.ModuleType("cut_models")
    package.__path__ = [str(folder / "models")]
    sys.modules["cut_models"] = package
    networks = importlib.import_module("cut_models.networks")
    instance, batch = (networks.get_norm_layer(norm) for norm in ("instance", "batch"))

    def resnet(width, blocks, filtered=False, norm=instance, dropout=False, own=None):
        return of_module(lambda: networks.ResnetGenerator(
            3, 3, width, norm, dropout, blocks, no_antialias=not filtered, no_antialias_up=not filtered), own)

    def unet(width, depth, norm=batch, own=None):
        return of_module(lambda: networks.UnetGenerator(3, 3, depth, width, norm, True), own)

    def case(title, file, made, last, size, **more):
        shapes, run = made
        return Case(title, file, shapes, run, (last, 0.3, 0.0), size, **more)

    yield case("CycleGAN, 9 blocks", "latest_net_G.pth", resnet(64, 9), "model.26", (64, 48))
    yield case("CycleGAN, 6 blocks, dropout", "latest_net_G_A.pth", resnet(64, 6, dropout=True), "model.23", (64, 48))
    yield case("CUT, 9 blocks", "latest_net_G.pth", resnet(64, 9, True), "model.30", (64, 48))
    yield case("CycleGAN, small", "small.pth", resnet(4, 2), "model.19", (16, 12), golden="cyclegan")
    yield case("CUT, small", "small.pth", resnet(4, 2, True), "model.23", (16, 12), golden="cut",
               prefix=("", "module."))
    for own in (True, False):
        kind = "the picture's statistics" if own else "the training's statistics"
        more = {"options": {"own_statistics": int(own)}}
        yield case(f"CycleGAN, batch normalization, {kind}", "net.pth", resnet(16, 6, norm=batch, own=own), "model.23",
                   (64, 48), **more)
        yield case(f"pix2pix, U-Net 256, {kind}", "facades.pth", unet(64, 8, own=own), "model.model.3", (256, 256),
                   **more)
        yield case(f"pix2pix, small U-Net, {kind}", "small.pth", unet(2, 5, own=own), "model.model.3", (64, 32),
                   golden=f"pix2pix_{int(own)}", **more)
    yield case("pix2pix, small U-Net, instance normalization", "small.pth", unet(2, 5, instance), "model.model.3",
               (128, 64))


def adain_cases(folder):
    """AdaIN by the code of github.com/naoto0804/pytorch-AdaIN."""
    sys.path.insert(0, str(folder))
    net, function = (importlib.import_module(name) for name in ("net", "function"))

    def narrowed(layers, divisor):
        """The same layers with fewer channels."""
        def less(n):
            return n if n == 3 else n // divisor
        return torch.nn.Sequential(*(
            torch.nn.Conv2d(less(each.in_channels), less(each.out_channels), each.kernel_size)
            if isinstance(each, torch.nn.Conv2d) else each for each in layers.children()))

    for divisor, size, golden in ((1, (64, 48), ""), (1, (61, 50), ""), (16, (19, 22), "adain")):
        title = f"AdaIN, {size[1]}x{size[0]}" + (", small" if golden else "")
        shapes = [shapes_of(narrowed(layers, divisor)) for layers in (net.vgg, net.decoder)]
        first, last = ("", 1.0, 0.0, 2**0.5), ("28", 0.2, 0.5, 2**0.5)

        def run(state, fields, options, divisor=divisor, shapes=shapes, first=first):
            vgg, decoder = (narrowed(layers, divisor) for layers in (net.vgg, net.decoder))
            vgg.load_state_dict(tensors(reference.state(shapes[0], 8, *first)))
            decoder.load_state_dict(state)
            content, style = (vgg[:31](to_unit(fields[name])) for name in ("source", "style"))
            mixed = function.adaptive_instance_normalization(content, style)
            alpha = options["strength"]
            made = decoder(alpha * mixed + (1 - alpha) * content)
            return made[:, :, :fields["source"].shape[2], :fields["source"].shape[3]] * 2 - 1

        yield Case(title, "decoder.pth", shapes[1], run,
                   last, size, options={"strength": 0.7}, golden=golden,
                   other=("vgg_normalised.pth", shapes[0], first))


def write(folder, case, state):
    path = folder / case.file
    old, new = case.prefix
    content = {new + name.removeprefix(old): value for name, value in state.items()}
    if case.script:
        net = case.script(state)
        inputs = torch.rand(1, 3, *case.size), torch.ones(1, 1, *case.size)
        torch.jit.save(torch.jit.trace(net, inputs), path)
    elif path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save({case.wrapper: content} if case.wrapper else content, path)
    if case.other:
        name, shapes, last = case.other
        torch.save(tensors(reference.state(shapes, 8, *last)), folder / name)
    return path


def compare(case, golden):
    """The largest difference of our result from the reference's, both in [-1,1]."""
    state = tensors(reference.state(case.shapes, 7, *case.last))
    with tempfile.TemporaryDirectory() as folder:
        model = load(write(Path(folder), case, state))
    generator = model.generator
    fields = reference.condition(generator.needs, *case.size)
    condition = generator.condition(model.weights, fields)
    decode = jax.jit(lambda weights, condition: generator.decode(weights, (), condition, case.options))
    ours = np.asarray(decode(model.weights, condition))
    given = {name: torch.from_numpy(np.array(value)).permute(0, 3, 1, 2) for name, value in condition.items()}
    with torch.no_grad():
        theirs = case.run(state, given, case.options).permute(0, 2, 3, 1).numpy()
    clipped = np.mean(np.abs(theirs) > 1)
    if case.golden:
        values = np.clip(theirs, -1, 1).ravel()
        golden[case.golden] = {
            "file": case.file, "prefix": case.prefix, "shapes": case.shapes, "last": case.last, "size": case.size,
            "options": case.options, "other": case.other, "shape": theirs.shape,
            "values": [round(float(value), 6) for value in values[::max(1, values.size // KEPT)]]}
    return float(np.max(np.abs(ours - np.clip(theirs, -1, 1)))), float(np.ptp(theirs)), float(clipped)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", action="store_true", help="rewrite those values in tests/weights/golden.json")
    parser.add_argument("--cut", type=Path, help="a checkout of github.com/taesungp/contrastive-unpaired-translation")
    parser.add_argument("--adain", type=Path, help="a checkout of github.com/naoto0804/pytorch-AdaIN")
    parser.add_argument("--only", default="", help="titles that contain this")
    args = parser.parse_args()
    import_torchvision()
    cases = [*spandrel_cases(), *(cut_cases(args.cut) if args.cut else ()),
             *(adain_cases(args.adain) if args.adain else ())]
    golden, lines = {}, []
    for case in (case for case in cases if args.only in case.title):
        difference, spread, clipped = compare(case, golden)
        agrees = difference <= BOUND
        lines.append({"what": case.title, "difference": difference, "bound": BOUND, "agrees": agrees})
        print(f"{'ok  ' if agrees else 'FAIL'}  {case.title:<60} {difference:9.2e}  (at most {BOUND:.0e}; values over "
              f"{spread:.2f}, {clipped:.1%} clipped)", flush=True)
    packages = ("imggen_jax", "jax", "numpy", "torch", "spandrel")
    results = {"versions": {name: version(name) for name in packages}, "checks": lines}
    if not args.only:
        (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    if args.golden:
        golden = json.loads(GOLDEN.read_text()) | golden
        text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
        GOLDEN.write_text(f"{{\n{text}\n}}\n")
    failed = sum(not line["agrees"] for line in lines)
    print(f"{len(lines) - failed} agree, {failed} do not")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
