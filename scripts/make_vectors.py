"""Write golden files of the current format version to tests/vectors; never overwrites one.

    python scripts/make_vectors.py

Every later version must still decode them to the same codes, and encode those codes to the same bytes
as long as the format version stays. The kinds `picture` and `patches` hold encoded pictures, of which the
pixels must stay the same, too; the first two were made before there were integer transforms. The folder `lossless`
holds exact samples, of which the same is true, and the models of pixels that two of its files need; the folder
`filtered` files of two of the kinds with filters, for which the pictures are their own, one column to the right.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from vqcodec import _core
from vqcodec.config import CODEBOOK, ModelConfig
from vqcodec.export import export_model
from vqcodec.integer_pixels import export_pixel_prior
from vqcodec.models import VQVAE
from vqcodec.pixel_expert import ExpertConfig, PixelExpert, export_pixel_expert
from vqcodec.pixel_prior import PixelConfig, PixelPrior

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
SMALL = {"prior_hidden": 24, "analysis_width": 8, "analysis_coarse_width": 8, "synthesis_width": 8}
GRID = ModelConfig(channels=24, slices=(4, 8, 12), **SMALL)  # type: ignore[arg-type]
BOOK = dataclasses.replace(
    CODEBOOK, channels=24, slices=(2, 4), codebook_size=32, codebook_width=4, embedding=8, quality_levels=8, **SMALL
)
PICTURES = {"tile": (200, 333, 0), "tiles": (1500, 40, 61), "dot": (1, 1, 112)}  # height, width, quality


FILTER_WEIGHT = 0.02  # bits that a squared error is worth to the fitted filters
KINDS = {
    "grid": GRID,
    "codebook": BOOK,
    "picture": GRID,
    "centred": dataclasses.replace(GRID, centred=True),
    "patches": BOOK,
    "picture2": dataclasses.replace(GRID, coarse_slices=(3, 5)),
    "patches2": dataclasses.replace(BOOK, coarse_slices=(3,)),
}


def random_model(config: ModelConfig, seed: int) -> bytes:
    """Model file of random weights whose networks are far from trivial."""
    torch.manual_seed(seed)
    model = VQVAE(config)
    for name, weight in model.named_parameters():
        if "prior." not in name and weight.dim() == 4:
            torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    for block in [*model.prior.blocks(), *(model.coarse.prior.blocks() if model.coarse else ())]:
        if block.condition:
            torch.nn.init.normal_(block.condition.weight, std=0.05)
        torch.nn.init.normal_(block.context_bias, std=0.5)
        torch.nn.init.normal_(block.head.weight, std=0.05)
        torch.nn.init.normal_(block.head_bias, std=0.7)
    return export_model(model, name="vector", description="random weights, for golden files")


def random_pixel_model(seed: int) -> bytes:
    """Model file of random weights that code smooth pictures with some noise well."""
    torch.manual_seed(seed)
    model = PixelPrior(PixelConfig(hidden=16, mixture=3))
    with torch.no_grad():
        for parameter in (*model.biases, model.head):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return export_pixel_prior(model, name="vector", description="random weights, for golden files", provenance={})


def random_expert(seed: int) -> bytes:
    """Model file of an expert of random weights, which is not far off the others."""
    torch.manual_seed(seed)
    model = PixelExpert(ExpertConfig(hidden=16))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("head"):
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return export_pixel_expert(model, name="vector", description="random weights, for golden files", provenance={})


def random_codes(config: ModelConfig, height: int, width: int, seed: int) -> np.ndarray:
    """Codes with small, large and extreme values."""
    rng = np.random.default_rng(seed)
    shape = (sum(config.slices), -(-height // config.stride), -(-width // config.stride))
    if config.quantizer == "codebook":
        return rng.integers(0, config.codebook_size, shape).astype(np.int32)
    codes = np.rint(rng.laplace(0, 1.5, shape)).astype(np.int32)
    return np.where(rng.random(shape) < 0.002, rng.integers(-16383, 16384, shape), codes).astype(np.int32)


def random_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours (height, width, 3) uint8 with some noise, in integers: the same on every machine."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    wave = np.abs((rows * 3 + columns * 5 + np.array([0, 40, 90])) % 510 - 255)
    return np.clip(wave + rng.integers(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)


def exact_pictures() -> dict[str, np.ndarray]:
    """Samples (H, W, channels) of all kinds: photos, drawings, 8 and 16 bits."""
    photo = random_picture(70, 50, seed=1)
    alpha = np.tile(np.arange(50, dtype=np.uint8), (70, 1))[..., None]
    drawing = np.repeat(np.repeat(random_picture(7, 5, seed=2) // 64 * 64, 10, axis=0), 10, axis=1)
    colours = np.random.default_rng(4).integers(0, 256, (300, 3), np.uint8)
    places = np.random.default_rng(5).integers(0, 300, (60, 24))
    return {
        "colours": np.repeat(colours[places], 4, axis=1),
        "gray": photo[..., :1],
        "gray-alpha": np.concatenate([photo[..., :1], alpha], axis=2),
        "rgb": photo,
        "rgba": np.concatenate([photo, alpha], axis=2),
        "drawing": drawing,
        "deep": photo[..., :1].astype(np.uint16) * 16 + 7,
        "deep-rgb": photo.astype(np.uint16) * 257,
        "pixels": random_picture(13, 21, seed=3) // 2 + 40,
        "expert": random_picture(50, 33, seed=6),
        "previewed": random_picture(64, 49, seed=7),
    }


def write_lossless(folder: Path) -> None:
    """Files of exact samples, and the hashes of these.

    One file has a preview and metadata, one needs its preview, one a model of small pictures, one a learned expert.
    """
    folder.mkdir(exist_ok=True)
    write_new(folder / "pixels.safetensors", random_pixel_model(seed=1))
    write_new(folder / "expert.safetensors", random_expert(seed=1))
    model = _core.Model((VECTORS / "picture.safetensors").read_bytes())
    models = {name: _core.PixelModel((folder / f"{name}.safetensors").read_bytes()) for name in ("pixels", "expert")}
    facts = {}
    for name, picture in exact_pictures().items():
        samples = np.ascontiguousarray(picture)
        serves = name == "previewed"
        preview = (model, 9, _core.analyze(model, samples, 9), serves) if name == "rgb" or serves else None
        metadata = b"metadata" if name == "rgb" else None
        file = _core.write_exact(samples, 8 * samples.itemsize, metadata, preview, pixels=models.get(name))
        write_new(folder / f"v{_core.read_header(file).version}-{name}.vqc", file)
        facts[name] = {
            "shape": samples.shape,
            "samples_sha256": sha256(samples.astype(samples.dtype.newbyteorder("<"))),
        }
    write_new(folder / "facts.json", json.dumps(facts, indent=1).encode() + b"\n")


def write_filtered(folder: Path) -> None:
    """Files with filters, the pixels that they show, and the filters that were fitted."""
    folder.mkdir(exist_ok=True)
    facts = {}
    for kind in ("centred", "picture2"):
        model = _core.Model((VECTORS / f"{kind}.safetensors").read_bytes())
        file = (VECTORS / f"v2-{kind}-tile.vqc").read_bytes()
        header, codes = _core.read_header(file), _core.read_codes(model, file)
        height, width, quality = header.height, header.width, header.quality
        shown = _core.synthesize(model, codes, height, width, quality)
        filter = _core.fit_filter(model, codes, np.roll(shown, 1, axis=1), quality, FILTER_WEIGHT)
        file, _ = _core.write_file(model, width, height, quality, codes, filter=filter)
        write_new(folder / f"v{_core.read_header(file).version}-{kind}.vqc", file)
        pixels, _ = _core.decode(model, file)
        facts[kind] = {"filter": filter.hex(), "pixels_sha256": hashlib.sha256(pixels).hexdigest()}
    write_new(folder / "facts.json", json.dumps(facts, indent=1).encode() + b"\n")


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for kind, config in KINDS.items():
        path = VECTORS / f"{kind}.safetensors"
        if not path.exists():
            path.write_bytes(random_model(config, seed=1))
        model = _core.Model(path.read_bytes())
        facts = {}
        for name, (height, width, quality) in PICTURES.items():
            quality = min(quality, 16 * (config.quality_levels - 1))
            if kind in ("grid", "codebook"):
                codes = [random_codes(config, height, width, seed=height)]
            else:
                codes = _core.analyze(model, random_picture(height, width, seed=height), quality)
            file, _ = _core.write_file(model, width, height, quality, codes)
            write_new(VECTORS / f"v{_core.read_header(file).version}-{kind}-{name}.vqc", file)
            facts[name] = {"codes_sha256": sha256(*codes), "shape": codes[-1].shape}
            if kind not in ("grid", "codebook"):
                facts[name]["pixels_sha256"] = sha256(_core.synthesize(model, codes, height, width, quality))
            if len(codes) > 1:
                facts[name]["coarse_sha256"] = sha256(_core.synthesize(model, codes[:1], height, width, quality))
        write_new(path.with_suffix(".json"), json.dumps(facts, indent=1).encode() + b"\n")
    write_lossless(VECTORS / "lossless")
    write_filtered(VECTORS / "filtered")


def sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def write_new(path: Path, data: bytes) -> None:
    """Write a file, or leave it alone where it exists."""
    if path.exists():
        print(f"{path.name} exists, left alone")
    else:
        path.write_bytes(data)


if __name__ == "__main__":
    main()
