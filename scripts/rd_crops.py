"""A page of crops: photos beside what every codec makes of them in equally large files.

    python scripts/rd_crops.py FOLDER [--output scripts/results/kodak_crops.png] [--bpp 0.15,0.3] [--model photo]

A codec's quality is bisected until the file of the WHOLE photo comes as near to the rate as its steps allow.
Crops are shown pixel by pixel; the labels are rate and PSNR of the whole photo. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rd_benchmark import make_coder
from rd_coders import Coder

from vqcodec import metrics

SIDE = 160  # pixels
CROPS = (  # picture, left, top
    ("kodim04.png", 170, 330),
    ("kodim08.png", 600, 245),
    ("kodim19.png", 105, 445),
    ("kodim23.png", 420, 110),
)
QUALITIES: dict[str, Sequence[float]] = {  # all that each codec is asked for, worst first
    "vqcodec": [step / 4 for step in range(401)],
    "avif": range(101),
    "jxl": range(19, 101),  # below, the plugin halves the picture
    "webp": range(101),
    "jpeg": range(1, 101),
}
GAP, LINE = 6, 18  # pixels between crops and of a line of text
FOOTER = (
    "Rate and PSNR are those of the whole picture. "
    "Red: the codec's smallest file (JPEG XL: the smallest that does not code a halved picture)."
)


@dataclass(frozen=True)
class Sample:
    """One photo as one codec gives it back: pixels (H, W, 3) uint8, rate, PSNR in dB; is no smaller file to be had?"""

    pixels: np.ndarray
    bpp: float
    psnr: float
    smallest: bool


def sample(coder: Coder, qualities: Sequence[float], pixels: np.ndarray, target: float) -> Sample:
    """The file nearest to `target` bits per pixel among `qualities`, decoded."""
    height, width = pixels.shape[:2]

    @cache
    def encoded(quality: float) -> bytes:
        return coder.encode(pixels, quality)

    def rate(quality: float) -> float:
        return metrics.bpp(len(encoded(quality)), height, width)

    reached = bisect_left(qualities, target, key=rate)
    nearest = min(qualities[max(reached - 1, 0) : reached + 1], key=lambda quality: abs(rate(quality) - target))
    decoded = coder.decode(encoded(nearest))
    return Sample(decoded, rate(nearest), metrics.psnr(pixels, decoded), smallest=reached == 0)


def page(
    folder: Path, crops: Sequence[tuple[str, int, int]], coders: Sequence[Coder], targets: Sequence[float]
) -> Image.Image:
    """A row for every crop at every rate: the original, then each codec."""
    columns = ["original", *(coder.label for coder in coders)]
    width = len(columns) * (SIDE + GAP) + GAP
    canvas = Image.new("RGB", (width, len(crops) * len(targets) * (SIDE + LINE + GAP) + 2 * LINE + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)

    def write(column: int, top: int, text: str, color: str = "black") -> None:
        draw.text((GAP + column * (SIDE + GAP), top), text, fill=color, font=font)

    for column, label in enumerate(columns):
        write(column, 2, label)
    top = LINE
    for name, left, upper in crops:
        with Image.open(folder / name) as image:
            pixels = np.asarray(image.convert("RGB"))
        for target in targets:
            samples = [sample(coder, QUALITIES[coder.name], pixels, target) for coder in coders]
            labels = [f"{name}, {target:g} bpp", *(f"{one.bpp:.3f} bpp, {one.psnr:.2f} dB" for one in samples)]
            colors = ["black", *("#c1121f" if one.smallest else "black" for one in samples)]
            for column, whole in enumerate([pixels, *(one.pixels for one in samples)]):
                crop = Image.fromarray(whole[upper : upper + SIDE, left : left + SIDE])
                canvas.paste(crop, (GAP + column * (SIDE + GAP), top))
                write(column, top + SIDE + 1, labels[column], colors[column])
            top += SIDE + LINE + GAP
    write(0, top, FOOTER, "#444444")
    return canvas


def rates(text: str) -> list[float]:
    """Bits per pixel from "0.15,0.3"."""
    return [float(rate) for rate in text.split(",")]


def parse_arguments() -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("folder", type=Path, help=f"folder with {', '.join(name for name, _, _ in CROPS)}")
    default = Path(__file__).parent / "results" / "kodak_crops.png"
    parser.add_argument("--output", type=Path, default=default, help="picture to write (default: %(default)s)")
    parser.add_argument("--bpp", default="0.15,0.3", type=rates, help="target rates (default: %(default)s)")
    parser.add_argument("--model", default="photo", help="vqcodec model, name or file (default: %(default)s)")
    arguments = parser.parse_args()
    if missing := [name for name, _, _ in CROPS if not (arguments.folder / name).is_file()]:
        parser.error(f"{arguments.folder} has no {', '.join(missing)}; see CROPS in {Path(__file__).name}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    coders = [make_coder(name, arguments.model) for name in QUALITIES]
    page(arguments.folder, CROPS, coders, arguments.bpp).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
