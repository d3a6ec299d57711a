"""Frozen settings of a model and of its training, with an exact JSON round trip."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")
MAX_COUNT = 4096  # of any width, block count or codebook size
VALUE_UNIT = 256  # what a whole step is in centred codes
MAX_LABELS = 16  # as many as quality levels: files name a position by one byte


@dataclass(frozen=True)
class ModelConfig:
    """Shape of one VQ-VAE: transform, quantiser and context prior.

    The defaults are the built-in `photo` model but for its centred codes: a residual transform beside
    a linear PCA skip, an integer grid as implicit product codebook and eight quality levels between
    `lambda_min` and `lambda_max` (rate-distortion trade-off, bits per pixel against 255^2 MSE).
    """

    transform: Literal["residual", "plain"] = "residual"
    quantizer: Literal["grid", "codebook"] = "grid"
    centred: bool = False  # the grid counts from the prior's means: codes are what is left of the latents
    channels: int = 256  # latent channels at stride 16 (grid), width of the plain transform (codebook)
    analysis_width: int = 128
    analysis_blocks: int = 4
    analysis_coarse_width: int = 160
    analysis_coarse_blocks: int = 2
    synthesis_width: int = 128
    synthesis_blocks: int = 7
    synthesis_coarse_blocks: int = 2
    distortion: Literal["mse", "ms-ssim"] = "mse"
    quality_levels: int = 8
    lambda_min: float = 0.0005
    lambda_max: float = 0.035
    labels: int = 0  # classes of pictures, which take the place of the quality levels; 0: none
    slices: tuple[int, ...] = (12, 28, 56, 160)  # coding order of the channels, PCA order within
    coarse_slices: tuple[int, ...] = ()  # the same of a coarse level at twice the stride; empty: one level
    prior_hidden: int = 160
    codebook_size: int = 512  # codebook quantiser: K
    codebook_width: int = 64  # codebook quantiser: D
    codebook_rate: float = 0.0  # codebook quantiser: what a bit counts for in choosing codes, squared steps
    embedding: int = 16  # codebook quantiser: features the prior sees of one index

    def __post_init__(self) -> None:
        """Raise ValueError for a shape that no model has: a model file may come from anywhere."""
        names = [field.name for field in dataclasses.fields(self) if field.type == "int" and field.name != "labels"]
        counts = {name: getattr(self, name) for name in names}
        slices = {f"slices[{i}]": size for i, size in enumerate(self.slices + self.coarse_slices)}
        for name, value in {**counts, **slices}.items():
            if type(value) is not int or not 1 <= value <= MAX_COUNT:
                raise ValueError(f"{name} must be a whole number of 1 to {MAX_COUNT}, not {value!r}")
        if self.transform not in ("residual", "plain") or self.quantizer not in ("grid", "codebook"):
            raise ValueError(f"no such transform and quantizer: {self.transform!r}, {self.quantizer!r}")
        if self.distortion not in ("mse", "ms-ssim"):
            raise ValueError(f"no such distortion: {self.distortion!r}")
        if type(self.centred) is not bool or (self.centred and (self.quantizer != "grid" or self.coarse_slices)):
            raise ValueError("centred codes go with the grid, on one level")
        if not 0.0 <= self.codebook_rate < 1e3:
            raise ValueError(f"codebook_rate must lie between 0 and 1000, not {self.codebook_rate!r}")
        if not 0.0 < self.lambda_min <= self.lambda_max < 1e6:
            raise ValueError("lambda_min and lambda_max must be positive, in this order")
        if type(self.labels) is not int or not 0 <= self.labels <= MAX_LABELS:
            raise ValueError(f"labels must be a whole number of 0 to {MAX_LABELS}, not {self.labels!r}")
        if self.labels and (self.labels != self.quality_levels or self.lambda_min != self.lambda_max):
            raise ValueError("labels take the place of quality levels, at one rate")
        width = self.codebook_width * sum(self.slices) if self.quantizer == "codebook" else sum(self.slices)
        plain = self.transform == "plain"
        if plain and (self.quantizer, len(self.slices), self.slices[0]) != ("codebook", 1, 1):
            raise ValueError("the plain transform goes with one codebook")
        if not plain and width != self.channels:
            raise ValueError(f"{self.channels} channels cannot be cut into slices {self.slices}")

    def with_labels(self, labels: int, quality: float) -> ModelConfig:
        """The same model for pictures of known classes, at one quality of 0 to 100 of the ones it had.

        The label then chooses what the quality chose before: the gains of both transforms, so that of the decoder,
        and the biases of the prior.
        """
        trade = self.lambda_at(quality / 100.0 * (self.quality_levels - 1))
        return dataclasses.replace(self, labels=labels, quality_levels=labels, lambda_min=trade, lambda_max=trade)

    @property
    def coarse_channels(self) -> int:
        """Latent channels of the coarse level; 0 where there is none."""
        return sum(self.coarse_slices) * (self.codebook_width if self.quantizer == "codebook" else 1)

    @property
    def multiple(self) -> int:
        """What the sides of a picture are padded to multiples of: the stride of the coarsest level."""
        return self.stride * (2 if self.coarse_slices else 1)

    @property
    def reach(self) -> int:
        """Codes on each side that a pixel or a code can depend on through a transform, at most."""
        if self.transform == "plain":
            return 6
        analysis = self.analysis_coarse_blocks + 0.5 * self.analysis_blocks + 1.0
        synthesis = self.synthesis_coarse_blocks + 0.5 * self.synthesis_blocks
        return math.ceil(max(analysis, synthesis))

    @property
    def stride(self) -> int:
        """Pixels per code along one side."""
        return 16 if self.transform == "residual" else 8

    def lambda_at(self, level: Any) -> Any:
        """Rate-distortion trade-off at a (fractional) quality level: a number, or a tensor of them."""
        span = max(self.quality_levels - 1, 1)
        return self.lambda_min * (self.lambda_max / self.lambda_min) ** (level / span)

    def level_at(self, lam: float) -> float:
        """Mirror of `lambda_at`: the (fractional) quality level of a trade-off, or the nearest there is."""
        if self.lambda_min == self.lambda_max:
            return 0.0
        share = math.log(lam / self.lambda_min) / math.log(self.lambda_max / self.lambda_min)
        return min(max(share, 0.0), 1.0) * (self.quality_levels - 1)


PLAIN = ModelConfig(
    transform="plain",
    quantizer="codebook",
    channels=128,
    quality_levels=1,
    lambda_min=0.005,
    lambda_max=0.005,
    slices=(1,),
    prior_hidden=128,
)
"""The textbook VQ-VAE (van den Oord et al. 2017): strided convolutions, one codebook, one rate."""

CODEBOOK = ModelConfig(
    quantizer="codebook",
    channels=64,
    quality_levels=1,
    lambda_min=0.005,
    lambda_max=0.005,
    slices=(4, 12),
    codebook_size=256,
    codebook_width=4,
)
"""Learned product codebook on the residual transform: 16 groups of 4 channels, 256 codes each, one rate."""

PHOTO_VQ = ModelConfig(
    quantizer="codebook",
    quality_levels=1,
    lambda_min=0.00309,
    lambda_max=0.00309,
    slices=(4, 12, 48),
    codebook_size=128,
    codebook_width=4,
    codebook_rate=0.064,
    embedding=8,
)
"""Learned product codebooks on the transform of `photo`: 64 groups of 4 channels, 128 codes each, one rate."""

PHOTO = ModelConfig(centred=True)
"""The built-in model `photo`."""

MS_SSIM = dataclasses.replace(PHOTO, distortion="ms-ssim")
"""The model `photo` for the eye rather than for PSNR: its distortion is 1 - MS-SSIM."""

THUMB = ModelConfig(
    centred=True,
    channels=128,
    analysis_width=64,
    analysis_blocks=2,
    analysis_coarse_width=96,
    analysis_coarse_blocks=1,
    synthesis_width=64,
    synthesis_blocks=2,
    synthesis_coarse_blocks=1,
    slices=(12, 28, 88),
    prior_hidden=96,
)
"""The built-in model `thumb` for pictures of about 32x32: a ninth of the work of `photo`."""

HIERARCHY = ModelConfig(coarse_slices=(12, 36))
"""`photo` on a common grid, under a coarse level of 48 channels at stride 32, as in VQ-VAE-2 (Razavi et al. 2019)."""

PRESETS: dict[str, ModelConfig] = {
    "photo": PHOTO,
    "msssim": MS_SSIM,
    "thumb": THUMB,
    "vq": PHOTO_VQ,
    "hierarchy": HIERARCHY,
    "plain": PLAIN,
    "codebook": CODEBOOK,
}


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained: data, schedule, losses; everything a resumed run needs to be the same run."""

    steps: int = 20_000
    batch: int = 8  # images a step, over all processes
    crop: int = 192  # pixels
    peak_rate: float = 1.5e-3  # Adam's learning rate on the plateau
    warmup_steps: int = 200
    decay: float = 0.25  # share of the steps in which the rate falls linearly to zero
    clip: float = 1.0  # gradient norm
    settle: float = 0.05  # share of the steps at the end in which centred codes are rounded as in a file
    ema: float = 0.999
    level: float | None = None  # the one quality level to train for; None: all
    rate_exponent: float = -0.3  # loss weight of a level: (lambda / 0.0057) ** rate_exponent
    seed: int = 0


def to_json(config: Any) -> str:
    """Return a config dataclass as compact JSON text with sorted keys."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":"))


def from_json(kind: type[T], text: str) -> T:
    """Read a config of dataclass `kind` back; an unknown key or wrong type of document is a ValueError."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} must be a JSON object")
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"unknown {kind.__name__} key: {', '.join(unknown)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
