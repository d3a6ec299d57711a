"""What a file's header says about it, for people and for programs."""

from __future__ import annotations

from typing import Any

from vqcodec import weights
from vqcodec._core import Header
from vqcodec.codec import QUALITY_STEPS
from vqcodec.errors import ModelMissingError


def header_facts(header: Header) -> dict[str, Any]:
    """A header as JSON values.

    The model's name is None where the model is not here; so are the quality (0 to 100), also where the model has one
    quality level or labels, and the label.
    """
    needs_model = bool(header.levels) or header.needs_pixel_model
    try:
        model = weights.find(header.model_id) if needs_model else None
    except ModelMissingError:
        model = None
    labels = bool(model and model.labels)
    positions = QUALITY_STEPS * (model.quality_levels - 1) if model and not labels else 0
    return {
        "format_version": header.version,
        "width": header.width,
        "height": header.height,
        "gray": header.gray,
        "alpha": header.has_alpha,
        "bytes": header.file_bytes,
        "bpp": 8 * header.file_bytes / (header.width * header.height),
        "model": model.name if model else None,
        "model_id": header.model_id if needs_model else None,
        "quality": 100 * header.quality / positions if positions and header.levels else None,
        "label": header.quality // QUALITY_STEPS if labels else None,
        "quality_position": header.quality if header.levels else None,
        "lossless": header.exact is not None,
        "channels": header.exact[0] if header.exact else (1 if header.gray else 3) + header.has_alpha,
        "bits": header.exact[1] if header.exact else 8,
        "levels": [
            {"stride": stride, "tile_side": side, "bytes": size}
            for (stride, side), size in zip(header.levels, header.payload_bytes, strict=True)
        ],
        "header_bytes": header.header_bytes,
        "filter_bytes": len(header.filter),
        "alpha_bytes": header.alpha_bytes,
        "metadata_bytes": header.metadata_bytes,
        "exact_bytes": header.exact_bytes,
        "samples_need_preview": header.needs_preview,
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts of `header_facts` as lines of text."""
    colour = "gray" if facts["gray"] else "RGB"
    alpha = f" and alpha ({facts['alpha_bytes']} bytes)" if facts["alpha"] else ""
    quality = "" if facts["quality"] is None else f"{facts['quality']:.1f}, "
    quality = quality if facts["label"] is None else f"that of label {facts['label']}, "
    kind = f", lossless, {facts['channels']} samples of {facts['bits']} bits a pixel" if facts["lossless"] else ""
    model = [f"model    {facts['model'] or 'not on this machine'}, id {facts['model_id']}"]
    position = [f"quality  {quality}position {facts['quality_position']}"]
    filter = f", of these the filter {facts['filter_bytes']}" if facts["filter_bytes"] else ""
    behind = ", which need the levels before them" if facts["samples_need_preview"] else ""
    return [
        f"picture  {facts['width']}x{facts['height']}, {colour}{alpha}{kind}",
        f"size     {facts['bytes']} bytes, {facts['bpp']:.3f} bpp",
        *(model if facts["model_id"] else []),
        *(position if facts["levels"] else []),
        f"format   version {facts['format_version']}, header {facts['header_bytes']} bytes{filter}",
        *(
            f"level {number}  one code vector for {level['stride']}x{level['stride']} pixels, "
            f"tiles of {level['tile_side']}x{level['tile_side']}, {level['bytes']} bytes"
            for number, level in enumerate(facts["levels"], 1)
        ),
        *([f"samples  {facts['exact_bytes']} bytes{behind}"] if facts["lossless"] else []),
    ]
