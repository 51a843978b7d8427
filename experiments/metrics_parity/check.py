"""Compare scores with the reference implementations, on the same images, features and weights.

Run by `make parity` in an environment of its own, since only these checks need torch. Prints a table and writes
results.json beside this file and, with --golden, the values with which tests/metrics compare.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(HERE.parent)]

import reference_inputs as inputs  # noqa: E402
from torch_packages import import_torchvision  # noqa: E402

from imggen_jax.metrics import frechet, kernel, neighbors, similarity, spaces  # noqa: E402
from imggen_jax.metrics.inception_score import inception_score  # noqa: E402
from imggen_jax.weights import torch_file  # noqa: E402

CHECKS = []


class Check:
    """One comparison: our value, the reference value, and the largest difference allowed."""

    def __init__(self, what, ours, theirs, bound, relative=False):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        difference = float(np.max(np.abs(ours - theirs) / (np.abs(theirs) if relative else 1.0)))
        self.line = {"what": what, "difference": difference, "bound": bound,
                     "kind": "relative" if relative else "absolute", "agrees": difference <= bound}
        CHECKS.append(self)
        print(f"{'ok  ' if self.line['agrees'] else 'FAIL'}  {what:<66} {difference:9.2e}  (at most {bound:.0e}, "
              f"{self.line['kind']})", flush=True)


def sums(golden):
    """Scores from the same features."""
    from prdc import compute_prdc
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import mmd2

    for name, number, dims, shift in (("64 dimensions", 700, 64, 0.1), ("512 dimensions", 2000, 512, 0.02)):
        a, b = inputs.features(1, number, dims), inputs.features(2, number + 50, dims, shift)
        ours = frechet.frechet_distance(*(frechet.accumulate([x[:300], x[300:]]) for x in (a, b)))
        wide = [x.astype(np.float64) for x in (a, b)]
        statistics = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in wide]
        theirs = calculate_frechet_distance(*(s[k] for s in statistics for k in ("mu", "sigma")))
        Check(f"Frechet distance, {name}: pytorch-fid", ours, theirs, 1e-6, relative=True)
        other = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
        Check(f"Frechet distance, {name}: torch-fidelity", ours, other, 1e-6, relative=True)
        golden[f"frechet_{dims}"] = float(theirs)

    a, b = (x.astype(np.float64) for x in (inputs.features(1, 400, 64), inputs.features(2, 450, 64, 0.1)))
    rng = np.random.RandomState(3)
    subsets = [(rng.choice(400, 100, replace=False), rng.choice(450, 100, replace=False)) for _ in range(10)]
    theirs = []
    for rows, columns in subsets:
        x, y = a[rows], b[columns]
        cubic = [(p @ q.T / 64 + 1) ** 3 for p, q in ((x, x), (x, y), (y, y))]
        theirs.append(mmd2(*cubic))
    Check("KID on ten subsets: torch-fidelity", kernel.kid(a, b, subsets), theirs, 1e-6)
    golden["kid"] = [float(each) for each in theirs]

    import torch

    logits = 3 * inputs.features(5, 500, 20)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    ours = inception_score(logits, 10)
    Check("Inception Score, mean: torch-fidelity", ours.mean(), theirs["inception_score_mean"], 1e-6)
    Check("Inception Score, spread over parts: torch-fidelity", ours.std(), theirs["inception_score_std"], 1e-6)
    golden["inception_score"] = [theirs["inception_score_mean"], theirs["inception_score_std"]]

    a, b = inputs.features(1, 300, 32), inputs.features(2, 350, 32, 0.15)
    for k in (3, 5):
        theirs = compute_prdc(a, b, nearest_k=k)
        ours = neighbors.neighbors(a, b, k)._asdict()
        for name in ("precision", "recall", "density", "coverage"):
            Check(f"{name}, k = {k}: prdc", ours[name], theirs[name], 1e-15)
        golden[f"prdc_{k}"] = {name: float(theirs[name]) for name in theirs}


def pixels(golden):
    """PSNR and SSIM."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a = inputs.pictures(1, 3, 40, 33)
    b = np.clip(a + np.random.RandomState(4).randint(-25, 25, a.shape), 0, 255).astype(np.uint8)
    psnr = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(a, b)]
    ssim = [structural_similarity(x, y, data_range=255, channel_axis=-1, gaussian_weights=True, sigma=1.5,
                                  use_sample_covariance=False) for x, y in zip(a, b)]
    Check("PSNR: scikit-image", similarity.psnr(a, b), psnr, 1e-9)
    Check("SSIM: scikit-image", similarity.ssim(a, b), ssim, 1e-9)
    golden["psnr"], golden["ssim"] = [float(x) for x in psnr], [float(x) for x in ssim]


def inception(golden, folder):
    """Features of the network of FID, from files in both formats of torch."""
    import torch
    from pytorch_fid import inception as theirs
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = {name: torch.from_numpy(value) for name, value in inputs.inception_state().items()}
    files = {True: folder / "zip.pth", False: folder / "plain.pth"}
    for zipped, path in files.items():
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        read = torch_file.read(path)
        Check(f"tensors of a {'zip' if zipped else 'plain'} file: torch.load", 0.0, max(
            float(np.abs(read[name] - value.numpy()).max()) for name, value in state.items()), 0.0)
    theirs.load_state_dict_from_url = lambda *args, **keys: state
    fid = theirs.InceptionV3().eval()
    fidelity = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"],
                                           feature_extractor_weights_path=str(files[True]))
    for height, width, channels in ((32, 32, 3), (64, 48, 3), (28, 28, 1), (320, 310, 3)):
        images = inputs.pictures(11, 2, height, width, channels)
        rgb = np.broadcast_to(images, (*images.shape[:3], 3)).transpose(0, 3, 1, 2)
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(rgb))
            expected = fid(tensor.float() / 255)[0][:, :, 0, 0].numpy()
            expected_tf1, logits = (each.numpy() for each in fidelity(tensor))
        of = f"{width}x{height}, {'RGB' if channels == 3 else 'gray'}"
        for resize_as, name, reference in (("pytorch-fid", "pytorch-fid", expected),
                                           ("torch-fidelity", "torch-fidelity", expected_tf1)):
            space = spaces.inception(files[False], resize_as=resize_as)
            features, class_logits = space.apply(space.weights, images)
            Check(f"inception features, {of}: {name}", features, reference, 1e-4)
            if name == "torch-fidelity":
                Check(f"inception logits, {of}: {name}", class_logits, logits, 1e-4)
            if (height, width, channels) == (32, 32, 3):
                golden[f"inception_{name}"] = reference[0, ::128].astype(float).tolist()


def dinov2(golden, folder):
    """Features of DINOv2, with position embeddings resized as the transformers package does."""
    import torch
    from PIL import Image
    from safetensors.numpy import save_file
    from torchvision import transforms
    from transformers import Dinov2Config, Dinov2Model

    prepare = transforms.Compose([
        transforms.Resize(224, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224),
        transforms.ToTensor(), transforms.Normalize(spaces.IMAGENET_MEAN, spaces.IMAGENET_DEVIATION)])
    for size, name in ((inputs.DINO, "a small one"), (dict(width=768, layers=12, heads=12), "ViT-B/14")):
        state = inputs.dino_state(**size)
        path = folder / "model.safetensors"
        save_file(state, path, metadata={"format": "pt"})
        Dinov2Config(hidden_size=size["width"], num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
                     image_size=518, patch_size=14).save_pretrained(folder)
        model = Dinov2Model.from_pretrained(folder).eval()
        space = spaces.vision_transformer(path, "dinov2", **size)
        for height, width in ((32, 32), (64, 48), (300, 400)):
            images = inputs.pictures(12, 2, height, width)
            with torch.no_grad():
                batch = torch.stack([prepare(Image.fromarray(image)) for image in images])
                expected = model(pixel_values=batch).pooler_output.numpy()
            features, _ = space.apply(space.weights, images)
            Check(f"dinov2 features, {name}, {width}x{height}: transformers", features, expected, 1e-4)
            if (height, width) == (32, 32) and size is inputs.DINO:
                golden["dinov2"] = expected[0].astype(float).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", action="store_true", help="rewrite tests/metrics/golden.json")
    args = parser.parse_args()
    golden: dict = {}
    import_torchvision()
    sums(golden)
    pixels(golden)
    with tempfile.TemporaryDirectory() as folder:
        inception(golden, Path(folder))
        dinov2(golden, Path(folder))
    packages = ("imggen_jax", "jax", "numpy", "torch", "pytorch-fid", "torch-fidelity", "transformers", "prdc",
                "scikit-image")
    results = {"versions": {name: version(name) for name in packages}, "checks": [check.line for check in CHECKS]}
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    if args.golden:
        (ROOT / "tests" / "metrics" / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    failed = sum(not check.line["agrees"] for check in CHECKS)
    print(f"{len(CHECKS) - failed} agree, {failed} do not")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
