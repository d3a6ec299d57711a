"""The pictures of CIFAR-10's test set as one archive: vqcodec's own, and an uncompressed tar of anyone's files."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rd_benchmark import Photo

import vqcodec

SIDE = 32


def cifar_test(path: Path) -> list[Photo]:
    """The pictures of a mosaic of 32x32 ones, row by row; the SHA-256 is that of a picture's pixels."""
    with Image.open(path) as image:
        mosaic = np.array(image.convert("RGB"))
    rows, columns = (side // SIDE for side in mosaic.shape[:2])
    tiles = mosaic.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return [Photo(f"{n:05d}", hashlib.sha256(tile.tobytes()).hexdigest(), tile) for n, tile in enumerate(tiles)]


def packed(photos: list[Photo], model: str | None = None) -> dict[str, Any]:
    """One lossless .vqa of pictures of one size, on one thread; every record is read back and compared."""
    pixels = np.stack([photo.pixels for photo in photos])
    with tempfile.TemporaryDirectory(prefix="bpd_") as folder:
        path = Path(folder) / "all.vqa"
        started = time.process_time()
        vqcodec.pack(pixels, path, lossless=True, model=model, threads=1)
        written = time.process_time()
        with vqcodec.ArchiveReader(path) as reader:
            decoded = np.stack([record.decode() for record in reader])
        read = time.process_time()
        size = path.stat().st_size
    if not np.array_equal(decoded, pixels):
        raise SystemExit("the archive does not give its pictures back")
    rates = [round(pixels.size / 3e6 / seconds, 3) for seconds in (written - started, read - written)]
    found = {"form": ".vqa", "bytes": size, "bits_per_dim": round(8 * size / pixels.size, 4)}
    return found | {"encode_mpixel_s": rates[0], "decode_mpixel_s": rates[1]}


def tarred(files: dict[str, bytes], samples: int) -> dict[str, Any]:
    """One uncompressed tar of files: 512 bytes before each, and each filled up to a multiple of that."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    size = len(stream.getvalue())
    return {"form": ".tar", "bytes": size, "bits_per_dim": round(8 * size / samples, 4)}
