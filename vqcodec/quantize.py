"""Quantisers between latents and codes, behind one small interface (torch).

Both offer `forward(latents) -> Quantized` for training (straight-through), and `codes(latents)` and
`lookup(codes)` for coding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce, broadcast, is_initialized

from vqcodec.config import ModelConfig

LEAST_SHARE = 2.0**-24  # of the hits: no code is dearer than 24 bits
CODE_LIMIT = 16_383  # largest |code| of the grid; the runtime holds codes in int16


@dataclass
class Quantized:
    """Result of a training pass of a quantiser.

    `latents` (B, C, h, w) quantised, straight-through gradient; `soft` values whose probability the
    prior is charged for (the codes; the grid's with uniform noise); `codes` (B, N, h, w) integers; `loss` scalar.
    """

    latents: Tensor
    soft: Tensor
    codes: Tensor
    loss: Tensor
    log: dict[str, float] = field(default_factory=dict)


def rows_of(tables: Tensor, codes: Tensor) -> Tensor:
    """Rows (B, G * D, h, w) of tables (G, K, D) that index codes (B, G, h, w) choose, one table a group."""
    batch, groups, height, width = codes.shape
    flat = codes.transpose(0, 1).reshape(groups, -1)
    rows = tables.gather(1, flat[:, :, None].expand(-1, -1, tables.shape[2]))
    return rows.view(groups, batch, height, width, -1).permute(1, 0, 4, 2, 3).flatten(1, 2)


class GridQuantizer(nn.Module):
    """Rounding to the integer grid: an implicit product codebook that cannot collapse (FSQ, Mentzer et al. 2023)."""

    def forward(self, latents: Tensor) -> Quantized:
        codes = self.codes(latents)
        hard = latents + (codes - latents).detach()
        soft = latents + torch.rand_like(latents) - 0.5
        return Quantized(hard, soft, hard, latents.new_zeros(()))

    def codes(self, latents: Tensor) -> Tensor:
        """Nearest codes, same shape and dtype as the latents, integer values in +-CODE_LIMIT."""
        return latents.round().clamp(-CODE_LIMIT, CODE_LIMIT)

    def lookup(self, codes: Tensor) -> Tensor:
        """Latents of codes: the codes themselves."""
        return codes.float()


class CodebookQuantizer(nn.Module):
    """Learned codebooks, one per group of channels: straight-through, EMA updates, k-means start, dead-code restart.

    Latents (B, G * D, h, w) give codes (B, G, h, w) in [0, K). One group is the textbook VQ-VAE
    (van den Oord et al. 2017, appendix A.1 for the EMA update). With a `rate` above 0, squared distance per bit,
    rare codes have to be that much nearer (entropy-constrained VQ, Chou et al. 1989); dead ones then stay dead.
    """

    DECAY = 0.99
    COMMITMENT = 0.25
    codebook: Tensor  # (G, K, D)
    hits: Tensor  # (G, K) running mean of hits a step
    sums: Tensor  # (G, K, D) running mean of the latents that hit
    started: Tensor  # () bool
    DEAD = 0.05  # expected hits a step below which a code is restarted on a random latent of the batch

    def __init__(self, groups: int, size: int, width: int, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("codebook", torch.randn(groups, size, width))
        self.register_buffer("hits", torch.ones(groups, size))
        self.register_buffer("sums", torch.zeros(groups, size, width))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> Quantized:
        vectors = self._vectors(latents.detach())
        if self.training and not self.started:
            self.start_on(latents.detach())
        codes = self.codes(latents)
        chosen = self.lookup(codes)
        log = self._update(vectors, codes) if self.training else {}
        loss = self.COMMITMENT * (latents - chosen).square().mean()
        straight = latents + (chosen - latents).detach()
        return Quantized(straight, codes, codes, loss, log)

    def codes(self, latents: Tensor) -> Tensor:
        """Index (B, G, h, w) int64 of the nearest codebook vector of every group, prices included."""
        batch, _, height, width = latents.shape
        distance = self._distance(self._vectors(latents))
        return distance.argmin(2).view(-1, batch, height, width).transpose(0, 1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Latents (B, G * D, h, w) of index codes (B, G, h, w)."""
        return rows_of(self.codebook, codes)

    def _vectors(self, latents: Tensor) -> Tensor:
        batch, _, height, width = latents.shape
        groups, _, dim = self.codebook.shape
        split = latents.view(batch, groups, dim, height, width)
        return split.permute(1, 0, 3, 4, 2).reshape(groups, -1, dim).float()

    def _distance(self, vectors: Tensor) -> Tensor:
        with torch.autocast(vectors.device.type, enabled=False):  # bf16 would choose other codes than the encoder
            cross = torch.bmm(vectors, self.codebook.transpose(1, 2))
        return (self.codebook.square().sum(2) + self.prices())[:, None] - 2.0 * cross

    def prices(self) -> Tensor:
        """What every code costs (G, K) in squared distance: its share of the hits, in bits, times the rate."""
        share = self.hits / self.hits.sum(1, keepdim=True)
        return self.rate * -share.clamp(min=LEAST_SHARE).log2()

    @torch.no_grad()
    def start_on(self, latents: Tensor) -> Tensor:
        """Ten rounds of k-means, so that the codebooks start where the data is; returns every code's share (G, K)."""
        vectors = self._vectors(latents)
        self._restart(vectors, torch.ones_like(self.hits, dtype=torch.bool))
        for _ in range(10):
            hits, sums = self._count(vectors, self._distance(vectors).argmin(2))
            self.codebook.copy_(torch.where(hits[..., None] > 0, sums / hits.clamp(min=1)[..., None], self.codebook))
            if self.rate:
                self.hits.copy_(hits)
        share = hits / hits.sum(1, keepdim=True)
        self.start_from(self.codebook)
        if self.rate:
            self.hits.mul_(share * share.shape[1])
            self.sums.mul_(self.hits[..., None])
        return share

    def start_from(self, codebook: Tensor) -> None:
        """Go on from a codebook (G, K, D), as if each of its codes had had one hit a step."""
        self.codebook.copy_(codebook)
        self.hits.fill_(1.0)
        self.sums.copy_(self.codebook)
        self.started.fill_(True)

    def _count(self, vectors: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        hits = torch.zeros_like(self.hits).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
        sums = torch.zeros_like(self.sums).scatter_add_(1, flat[..., None].expand_as(vectors), vectors)
        if is_initialized():
            all_reduce(hits)
            all_reduce(sums)
        return hits, sums

    def _update(self, vectors: Tensor, codes: Tensor) -> dict[str, float]:
        flat = codes.transpose(0, 1).reshape(codes.shape[1], -1)
        hits, sums = self._count(vectors, flat)
        self.hits.lerp_(hits, 1.0 - self.DECAY)
        self.sums.lerp_(sums, 1.0 - self.DECAY)
        dead = self.hits < self.DEAD
        fresh = self.sums / self.hits.clamp(min=1e-5)[..., None]
        self.codebook.copy_(torch.where(dead[..., None], self.codebook, fresh))
        if not self.rate and bool(dead.any()):
            self._restart(vectors, dead)
        share = hits / hits.sum(1, keepdim=True)
        entropy = -(share * share.clamp(min=1e-12).log()).sum(1)
        return {
            "codebook/used": float((self.hits >= self.DEAD).float().mean()),
            "codebook/perplexity": float(entropy.exp().mean()),
            "codebook/dead": float(dead.sum()),
        }

    def _restart(self, vectors: Tensor, dead: Tensor) -> None:
        """Move dead codes onto random latents of this batch (the same ones on every process)."""
        pick = torch.randint(vectors.shape[1], dead.shape, device=vectors.device)
        fresh = vectors.gather(1, pick[..., None].expand(-1, -1, vectors.shape[2])).contiguous()
        if is_initialized():
            broadcast(fresh, 0)
        self.codebook.copy_(torch.where(dead[..., None], fresh, self.codebook))
        self.hits.copy_(torch.where(dead, torch.ones_like(self.hits), self.hits))
        self.sums.copy_(torch.where(dead[..., None], fresh, self.sums))


def make_quantizer(config: ModelConfig, slices: tuple[int, ...]) -> GridQuantizer | CodebookQuantizer:
    """The quantiser of a level with these slices of codes."""
    if config.quantizer == "grid":
        return GridQuantizer()
    return CodebookQuantizer(sum(slices), config.codebook_size, config.codebook_width, config.codebook_rate)
