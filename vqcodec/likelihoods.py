"""What a decoder says of a picture: log p(x | z), and the picture to show (torch).

Shapes: images and `decoded` (B, ...) float, images in [0, 1]; likelihoods (B,) in nats, summed over all
dimensions of a picture. Each likelihood is a module, because its scale may be learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Bernoulli(nn.Module):
    """Binary pixels, 0 or 1, of which `decoded` are the logits."""

    def forward(self, images: Tensor, decoded: Tensor) -> Tensor:
        """log p(images | decoded), (B,) nats."""
        return -F.binary_cross_entropy_with_logits(decoded, images, reduction="none").flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """Expected pixels, in [0, 1]."""
        return torch.sigmoid(decoded)


class Gaussian(nn.Module):
    """Real pixels around `decoded`, with one standard deviation `scale` for all: a density, not a probability."""

    def __init__(self, scale: float, *, learned: bool = False) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learned)

    def forward(self, images: Tensor, decoded: Tensor) -> Tensor:
        """log p(images | decoded), (B,) nats of density."""
        error = (images - decoded) * torch.exp(-self.log_scale)
        return -(0.5 * error.square() + self.log_scale + 0.5 * math.log(2.0 * math.pi)).flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """Expected pixels, in [0, 1]."""
        return decoded.clamp(0.0, 1.0)


class DiscretizedLogistic(nn.Module):
    """Pixels k / 255 with the mass that a logistic around `decoded` has in their bins (Kingma et al. 2016).

    The bins of 0 and 255 reach to infinity, so the 256 masses add up to 1 and nothing is dequantised.
    """

    BIN = 1.0 / 255.0

    def __init__(self, scale: float, *, learned: bool = False) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learned)

    def forward(self, images: Tensor, decoded: Tensor) -> Tensor:
        """log P(images | decoded), (B,) nats."""
        inverse = torch.exp(-self.log_scale)
        below = F.logsigmoid((images - decoded + 0.5 * self.BIN) * inverse)
        above = F.logsigmoid((decoded - images + 0.5 * self.BIN) * inverse)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): no difference of nearly equal numbers
        inside = below + above + torch.log(-torch.expm1(-self.BIN * inverse))
        mass = torch.where(images < 0.5 * self.BIN, below, torch.where(images > 1.0 - 0.5 * self.BIN, above, inside))
        return mass.flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """Pixels in the middle, in [0, 1]."""
        return decoded.clamp(0.0, 1.0)
