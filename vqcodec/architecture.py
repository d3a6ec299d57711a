"""The transform of a model as a list of steps, in the words of the integer runtime (rust/core/src/architecture.rs).

A step's name is the path of the torch module that it comes from, and of its tensors in a model file.
"""

from __future__ import annotations

from typing import Any

from vqcodec.config import ModelConfig

Step = dict[str, Any]


def runtime(config: ModelConfig) -> dict[str, Any]:
    """What the Rust runtime has to know of a model, as JSON values."""
    transform = _residual(config) if config.transform == "residual" else _plain(config)
    if config.quantizer == "codebook":
        priced = {"priced": True} if config.codebook_rate else {}
        transform["codebook"] = {"size": config.codebook_size, "width": config.codebook_width, **priced}
    levels: dict[str, Any] = {"stride": config.stride, "prior": _prior(config, config.slices)}
    if config.coarse_slices:
        levels["coarse"] = {"stride": 2 * config.stride, "prior": _prior(config, config.coarse_slices)}
        transform["coarse"] = _coarse(config, transform)
    return {**levels, "quality_levels": config.quality_levels, "transform": transform}


def _prior(config: ModelConfig, slices: tuple[int, ...]) -> dict[str, Any]:
    prior = {"slices": list(slices), "hidden": config.prior_hidden, "head": "logistic"}
    if config.centred:
        prior["centred"] = True
    if config.quantizer == "codebook":
        prior |= {"head": "categorical", "alphabet": config.codebook_size, "embedding": config.embedding}
    return prior


def _coarse(config: ModelConfig, transform: dict[str, Any]) -> dict[str, Any]:
    """The coarse level beside the fine one's networks."""
    channels = config.coarse_channels
    level = {"out": _conv("coarse.out", transform["analysis"]["out"]["inputs"], channels, 2, stride=2)}
    if "skip" in transform["analysis"]:
        level["skip"] = _conv("coarse.skip", 3, channels, 32, stride=32)
    level["up"] = _conv("coarse.up", channels, transform["analysis"]["out"]["outputs"], 1, fold=2)
    return level | ({"codebook": transform["codebook"]} if "codebook" in transform else {})


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
