"""Tables and a picture of what bpd_benchmark.py measured, published figures beside it (published_bpd.json).

    python scripts/bpd_report.py scripts/results/bpd_{cifar,kodak,val}.json --plot scripts/results/bpd.png

Published figures are not measured here: they stand with a star, below or behind ours, for the sets that have any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PUBLISHED = Path(__file__).parent / "published_bpd.json"
NAMES = {"cifar10": "CIFAR-10 test", "kodak": "Kodak", "val-photos": "validation photos"}
COLUMNS = {"files": "single files", "archive": "one archive", "bound": "likelihood or bound"}
COLORS = {"files": "#00798c", "archive": "#7a5195", "bound": "#c98a00"}
OURS = "#d1495b"
NOTE = (
    "\\* Published, not measured here (`scripts/published_bpd.json`). An archive is a .vqa for vqcodec and a plain "
    ".tar, 512 bytes and more a file, for the other formats."
)

Row = dict[str, Any]


def rows_of(name: str, found: dict[str, Any]) -> list[Row]:
    """What was measured on a set and then what was published: label, `files`, `archive`, `bound` in bits/dim."""
    rows = []
    for label, coder in found["coders"].items():
        row = {"label": label, "files": coder["bits_per_dim"], "published": False}
        row |= {"archive": coder["archive"]["bits_per_dim"]} if "archive" in coder else {}
        row |= {"bound": coder["bound"]} if "bound" in coder else {}
        rows.append(row | {key: coder[key] for key in ("encode_mpixel_s", "decode_mpixel_s")})
    bounds = found.get("bounds", {})
    rows += [{"label": label, "bound": bound, "published": False} for label, bound in bounds.items()]
    return rows + [row | {"label": f"{row['label']}*", "published": True} for row in published(name, found["images"])]


def published(name: str, images: Any) -> list[Row]:
    """The figures published for a set; none where its pictures are other ones (of CIFAR-10 a part will do)."""
    known = json.loads(PUBLISHED.read_text("utf-8"))
    if name in known["images_sha256"]:
        hashes = sorted(image["sha256"] for image in images)
        if hashlib.sha256("\n".join(hashes).encode()).hexdigest() != known["images_sha256"][name]:
            return []
    figures: list[Row] = known["figures"].get(name, [])
    return figures


def title_of(name: str, found: dict[str, Any]) -> str:
    """A set and how many of its pictures were measured."""
    images = found["images"]
    return f"{NAMES.get(name, name)}, {images['count'] if isinstance(images, dict) else len(images):,} pictures"


def tables(folders: dict[str, dict[str, Any]]) -> str:
    """A Markdown table for each set: bits/dim of files, archives and bounds, and the speed of single files."""
    parts = []
    for name, found in folders.items():
        rows = rows_of(name, found)
        columns = [key for key in COLUMNS if any(key in row for row in rows)]
        heads = [f"bits/dim, {title_of(name, found)}", *(COLUMNS[key] for key in columns), "Mpixel/s, encode", "decode"]
        lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1)]
        for row in rows:
            bits = [f"{row[key]:.3f}" if key in row else "" for key in columns]
            speeds = [f"{row[key]:.2f}" if key in row else "" for key in ("encode_mpixel_s", "decode_mpixel_s")]
            lines.append(f"| {row['label']} | {' | '.join(bits + speeds)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, NOTE])


def plot(folders: dict[str, dict[str, Any]], target: Path) -> None:
    """Bars of bits/dim, a panel for each set, the smallest on top; published ones are pale."""
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.6 * len(folders), 6.4), layout="constrained")
        panels = figure.subplots(1, len(folders), squeeze=False)[0]
        for axes, (name, found) in zip(panels, folders.items(), strict=True):
            draw_panel(axes, rows_of(name, found))
            axes.set_title(title_of(name, found))
        figure.supxlabel("bits per dimension; * and pale: published by others, not measured here")
        figure.savefig(target, dpi=100)


def draw_panel(axes: Axes, rows: list[Row]) -> None:
    """One bar for every figure of every row, coloured by what it is the size of."""
    bars = [(row[key], key, row) for row in rows for key in COLUMNS if key in row]
    bars.sort(key=lambda bar: bar[0])
    several = len({key for _, key, _ in bars}) > 1
    for place, (bits, key, row) in enumerate(bars):
        ours = row["label"].startswith("vqcodec")
        color = OURS if ours else COLORS[key]
        axes.barh(place, bits, color=color, alpha=0.4 if row["published"] else 1.0)
        axes.text(bits, place, f" {bits:.2f}", va="center", fontweight="bold" if ours else "normal")
    labels = [f"{row['label']}, {COLUMNS[key]}" if several else row["label"] for _, key, row in bars]
    axes.set_yticks(range(len(bars)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * bars[-1][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="JSON files of bpd_benchmark.py")
    parser.add_argument("--plot", type=Path, help="picture of all sets")
    options = parser.parse_args()
    folders: dict[str, dict[str, Any]] = {}
    for path in options.results:
        folders |= json.loads(path.read_text("utf-8"))["folders"]
    print(tables(folders))
    if options.plot:
        plot(folders, options.plot)


if __name__ == "__main__":
    main()
