"""The transform of a model as a list of steps, in the words of the integer runtime (rust/core/src/architecture.rs).

A step's name is the path of the torch module that it comes from, and of its tensors in a model file.
"""

from __future__ import annotations

from typing import Any

from vqcodec.config import ModelConfig

Step = dict[str, Any]


def runtime(config: ModelConfig) -> dict[str, Any]:
    """What the Rust runtime has to know of a model, as JSON values."""
    prior: dict[str, Any] = {"slices": list(config.slices), "hidden": config.prior_hidden, "head": "logistic"}
    transform = _residual(config) if config.transform == "residual" else _plain(config)
    if config.quantizer == "codebook":
        prior |= {"head": "categorical", "alphabet": config.codebook_size, "embedding": config.embedding}
        transform["codebook"] = {"size": config.codebook_size, "width": config.codebook_width}
    return {
        "stride": config.stride,
        "quality_levels": config.quality_levels,
        "prior": prior,
        "transform": transform,
    }


def _conv(name: str, inputs: int, outputs: int, size: int, **more: Any) -> Step:
    return {"name": name, "inputs": inputs, "outputs": outputs, "size": size, **more}


def _blocks(name: str, width: int, count: int) -> list[Step]:
    return [{"block": {"name": f"{name}.{index}", "width": width}} for index in range(count)]


def _gain(name: str, channels: int) -> Step:
    return {"gain": {"name": name, "channels": channels}}


def _residual(config: ModelConfig) -> dict[str, Any]:
    wide, coarse, channels = config.analysis_width, config.analysis_coarse_width, config.channels
    analysis = [
        {"conv": _conv("analysis.stem", 3, wide, 8, stride=8)},
        _gain("analysis.stem_gain", wide),
        *_blocks("analysis.fine", wide, config.analysis_blocks),
        {"conv": _conv("analysis.down", wide, coarse, 3, stride=2)},
        *_blocks("analysis.coarse", coarse, config.analysis_coarse_blocks),
    ]
    back = config.synthesis_width
    synthesis = [
        {"conv": _conv("synthesis.stem", channels, channels, 1)},
        *_blocks("synthesis.coarse", channels, config.synthesis_coarse_blocks),
        {"conv": _conv("synthesis.up", channels, back, 1, fold=2)},
        _gain("synthesis.up_gain", back),
        *_blocks("synthesis.fine", back, config.synthesis_blocks),
    ]
    return {
        "analysis": {
            "trunk": analysis,
            "out": _conv("analysis.out", coarse, channels, 1),
            "skip": _conv("analysis.skip", 3, channels, 16, stride=16),
        },
        "synthesis": {
            "trunk": synthesis,
            "out": _conv("synthesis.out", back, 3, 1, fold=8),
            "skip": _conv("synthesis.skip", channels, 3, 1, fold=16),
        },
    }


def _plain(config: ModelConfig) -> dict[str, Any]:
    width, latent = config.channels, config.codebook_width
    analysis = [
        {"conv": _conv("analysis.down1", 3, width // 2, 4, stride=2, relu=True)},
        {"conv": _conv("analysis.down2", width // 2, width, 4, stride=2, relu=True)},
        {"conv": _conv("analysis.down3", width, width, 4, stride=2)},
        *_blocks("analysis.blocks", width, 2),
    ]
    synthesis = [
        {"conv": _conv("synthesis.stem", latent, width, 3)},
        *_blocks("synthesis.blocks", width, 2),
        {"conv": _conv("synthesis.up1", width, width, 3, fold=2, relu=True)},
        {"conv": _conv("synthesis.up2", width, width // 2, 3, fold=2, relu=True)},
    ]
    return {
        "analysis": {"trunk": analysis, "out": _conv("analysis.out", width, latent, 1)},
        "synthesis": {"trunk": synthesis, "out": _conv("synthesis.out", width // 2, 3, 3, fold=2)},
    }
