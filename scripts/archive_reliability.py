"""What archives survive: kills while packing, cuts at every block, flips and cuts of any byte.

    python scripts/archive_reliability.py --kills 20 --damage 10000 --output scripts/results/archive_reliability.json

A `vqcodec pack` of CIFAR pictures is killed (SIGKILL) at random moments and started again, until it is done: the
archive must have the bytes of an undisturbed one. Then an archive is cut at the end of every block and recovered;
and damaged at random, after which every record must be the right one or a named error, and no more than
one block may be lost, nor any by recovery but that.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqcodec import ArchiveReader, Record, errors, pack, recover


def pictures(data: Path, count: int) -> np.ndarray:
    """Pictures (count, 32, 32, 3) of CIFAR-10's test set."""
    mosaic = np.asarray(Image.open(data / "cifar10" / "test.webp")).reshape(100, 32, 100, 32, 3)
    return np.ascontiguousarray(mosaic.swapaxes(1, 2).reshape(-1, 32, 32, 3)[:count])


def kills(folder: Path, wanted: int, chance: random.Random) -> dict[str, Any]:
    """Kill packing at random moments until it has happened so often; each archive is finished and compared."""
    command = [sys.executable, "-m", "vqcodec", "pack", "a.npy", "a.vqa", "--effort", "0", "--quiet"]
    begun = time.perf_counter()
    subprocess.run([*command[:5], "whole.vqa", *command[6:]], cwd=folder, check=True)
    seconds, whole = time.perf_counter() - begun, (folder / "whole.vqa").read_bytes()
    done, runs, archives = 0, 0, 0
    target, part = folder / "a.vqa", folder / "a.vqa.part"
    kept = []
    while done < wanted:
        while not target.exists():
            running = subprocess.Popen(command, cwd=folder)
            runs += 1
            try:
                running.wait(chance.uniform(0.2, 1.0) * seconds if done < wanted else None)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
            if running.wait() == -signal.SIGKILL:
                done += 1
                kept.append(part.stat().st_size if part.exists() else 0)
        assert target.read_bytes() == whole, "the archive differs from that of an undisturbed run"
        assert not part.exists()
        target.unlink()
        archives += 1
    return {"kills": done, "runs": runs, "archives_equal": archives, "bytes_kept_at_kills": kept, "bytes": len(whole)}


def cuts_at_blocks(archive: Path, folder: Path) -> dict[str, Any]:
    """Cut at the end of every block: recovery returns all records before."""
    with ArchiveReader(archive) as reader:
        records, blocks = list(reader), [reader.placed(number) for number in range(reader.blocks)]
    data, before = archive.read_bytes(), 0
    cut, saved = folder / "cut.vqa", folder / "saved.vqa"
    for placed in blocks:
        before += len(placed.block)
        cut.write_bytes(data[: placed.offset + len(placed.data)])
        assert recover(cut, saved, force=True).records == before
        with ArchiveReader(saved) as reader:
            assert list(reader) == records[:before]
    return {"cuts": len(blocks), "records": len(records)}


def damage(archive: Path, folder: Path, rounds: int, chance: random.Random) -> dict[str, Any]:
    """Flip a bit or cut at random places; count what reading and recovery make of it."""
    with ArchiveReader(archive) as reader:
        records, blocks = list(reader), reader.blocks
        sizes = {len(reader.placed(number).block) for number in range(blocks)}
    data, damaged, saved = archive.read_bytes(), folder / "damaged.vqa", folder / "saved.vqa"
    found = {"flips": 0, "cuts": 0, "refused_to_open": 0, "one_block_lost": 0, "recovered": 0}
    names: dict[str, int] = {}
    for number in range(rounds):
        if number % 4:
            changed = bytearray(data)
            bit = chance.randrange(8 * len(data))
            changed[bit // 8] ^= 1 << bit % 8
            damaged.write_bytes(changed)
            found["flips"] += 1
        else:
            damaged.write_bytes(data[: chance.randrange(len(data))])
            found["cuts"] += 1
        lost, error = read_all(damaged, records)
        names[error] = names.get(error, 0) + 1
        found["refused_to_open" if lost is None else "one_block_lost"] += 1
        assert lost is None or lost in sizes, f"{lost} records are lost"
        if number % 20 < 2:  # flips and cuts
            try:
                recovery = recover(damaged, saved, force=True)
            except errors.NotVqaError:
                assert damaged.stat().st_size < 4
                continue
            with ArchiveReader(saved) as reader:
                assert len(reader) == recovery.records and set(reader) <= set(records)
            if number % 4:
                assert len(records) - recovery.records in sizes | {0}
            found["recovered"] += 1
    return found | {"errors": names, "bytes": len(data), "blocks": blocks}


def read_all(path: Path, records: list[Record]) -> tuple[int | None, str]:
    """How many records cannot be read, or None where the archive cannot be opened; and the name of the error."""
    name, lost = "", 0
    try:
        with ArchiveReader(path) as reader:
            for number, record in enumerate(records):
                try:
                    assert reader[number] == record, f"record {number} is another one"
                except errors.VqcodecError as error:
                    name, lost = type(error).__name__, lost + 1
    except errors.VqcodecError as error:
        return None, type(error).__name__
    assert lost, "the damage was not noticed"
    return lost, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "archive_reliability.json")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--damage", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=3000, help="packed in each run that is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = pictures(arguments.data, arguments.pictures)
        np.save(folder / "a.npy", images)
        results = {"kills": kills(folder, arguments.kills, chance)}
        small = folder / "small.vqa"
        pack([(image, number % 10) for number, image in enumerate(images[:1000])], small, effort=0)
        results["cuts_at_blocks"] = cuts_at_blocks(folder / "whole.vqa", folder)
        results["damage"] = damage(small, folder, arguments.damage, chance)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
