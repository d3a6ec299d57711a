"""Plan a large set on a cluster: bytes, core hours, money and days, from rates measured on this machine.

    python scripts/plan.py --measure ../shared/data     # measure again (minutes); writes scripts/results/plan.json
    python scripts/plan.py --images 1e9 --cores 1000 --core-hour 0.04 --gigabyte-month 0.02

Prices are arguments, not facts. Core seconds are processor time of one process, reading the source included; joining
is what the driver of `engine="ray"` does with every record once its shard is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqcodec import ArchiveReader, pack

RESULTS = Path(__file__).parent / "results" / "plan.json"
SETTINGS: dict[str, dict[str, Any]] = {
    "quality 50, effort 0": {"effort": 0},
    "quality 50, effort 1": {"effort": 1},
    "lossless": {"lossless": True},
}
MINIMUM_JOINED = 2000  # records that joining is timed with


def sources(data: Path, folder: Path) -> Iterator[tuple[str, Any, int]]:
    """Name, source and number of pictures of each measured set."""
    mosaic = np.asarray(Image.open(data / "cifar10" / "test.webp"))
    yield "32x32 (CIFAR-10)", mosaic.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)[:2000], 2000
    for name, place, limit in (("256x256 (photos)", "train-photos", 48), ("768x512 (Kodak)", "kodak", 24)):
        some = folder / place
        some.mkdir()
        images = sorted(path for path in (data / place).iterdir() if path.suffix in (".webp", ".png"))
        for path in islice(images, limit):
            (some / path.name).symlink_to(path.resolve())
        yield name, some, limit


def measured(source: Any, count: int, settings: dict[str, Any], folder: Path) -> dict[str, float]:
    """Bytes, and processor seconds to encode and to join, of one picture."""
    begun = time.process_time()
    pack(source, folder / "a.vqa", threads=1, force=True, **settings)
    encoded = time.process_time()
    size = (folder / "a.vqa").stat().st_size
    with ArchiveReader(folder / "a.vqa") as reader:
        records = [record.data for record in reader] * -(-MINIMUM_JOINED // count)
    begun_to_join = time.process_time()
    pack(records, folder / "b.vqa", threads=1, force=True, **settings)
    joined = time.process_time()
    return {
        "pictures": count,
        "bytes": size / count,
        "core_seconds": (encoded - begun) / count,
        "join_seconds": (joined - begun_to_join) / len(records),
    }


def measure(data: Path) -> dict[str, Any]:
    """All rates."""
    results: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]}, "rows": []}
    results["machine"]["system"] = platform.platform()
    with tempfile.TemporaryDirectory() as name:
        for pictures, source, count in sources(data, Path(name)):
            for settings, arguments in SETTINGS.items():
                pack([np.zeros((16, 16, 3), np.uint8)], Path(name) / "warm.vqa", force=True, **arguments)
                row = measured(source, count, arguments, Path(name))
                results["rows"].append({"pictures_of": pictures, "settings": settings, **row})
    return results


def table(results: dict[str, Any], images: float, cores: int, core_hour: float, gigabyte_month: float) -> str:
    """The plan, in Markdown."""
    lines = [
        f"{images:,.0f} pictures, {cores} cores, {core_hour} a core hour, {gigabyte_month} a gigabyte and month:",
        "",
        "| pictures | settings | bytes each | archive | core seconds each | core hours | cost | hours | to join, hours "
        "| storage a month |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        hours, terabytes = images * row["core_seconds"] / 3600, images * row["bytes"] / 1e12
        lines.append(
            f"| {row['pictures_of']} | {row['settings']} | {row['bytes']:,.0f} | {terabytes:,.2f} TB "
            f"| {row['core_seconds']:.2g} | {hours:,.0f} | {hours * core_hour:,.0f} | {hours / cores:,.1f} "
            f"| {images * row['join_seconds'] / 3600:,.1f} | {terabytes * 1000 * gigabyte_month:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=Path, metavar="DATA", help="folder with cifar10, train-photos and kodak")
    parser.add_argument("--images", type=float, default=1e9)
    parser.add_argument("--cores", type=int, default=1000)
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gigabyte-month", type=float, default=0.02, help="price of a gigabyte for a month")
    arguments = parser.parse_args()
    if arguments.measure:
        RESULTS.write_text(json.dumps(measure(arguments.measure), indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    print(table(results, arguments.images, arguments.cores, arguments.core_hour, arguments.gigabyte_month))


if __name__ == "__main__":
    main()
