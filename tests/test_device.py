"""What `--device cuda` runs: the networks in torch, here on its processor device, since any torch device will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec import ArchiveDataset, ArchiveReader
from vqcodec.metrics import psnr
from vqcodec.transform import Transform

DEVICE = "cpu:0"  # to torch a device like any other, while "cpu" is the integer runtime


def small(photo: np.ndarray) -> list[np.ndarray]:
    """Pictures of several sizes and kinds, some of them alike."""
    crops = [photo[y : y + 40, x : x + 56] for y in (0, 90, 180) for x in (0, 100)]
    alpha = np.full((40, 56, 1), 77, np.uint8)
    return [*crops, photo[:33, :17], crops[0][..., 1], np.dstack([crops[1], alpha]), photo[200:250, 200:290]]


def assert_close(shown: np.ndarray, exact: np.ndarray) -> None:
    """Pixels of torch and of the integers: few differ, and those by one."""
    assert shown.shape == exact.shape and shown.dtype == exact.dtype == np.uint8
    difference = np.abs(shown.astype(int) - exact)
    assert difference.max() <= 1 and difference.mean() < 0.15


@pytest.fixture(scope="module")
def codec() -> vqcodec.Codec:
    return vqcodec.load("photo", DEVICE)


@pytest.mark.parametrize("effort", [0, 1])
def test_files_of_a_device_decode_without_one(codec: vqcodec.Codec, photo: np.ndarray, effort: int) -> None:
    picture = np.tile(photo, (1, 3, 1))[:200]  # 1536 pixels wide: two windows
    data = codec.encode(picture, 40, effort=effort)  # verified: its codes come back from the integers
    plain = vqcodec.load("photo")
    shown, expected = plain.decode(data), plain.decode(plain.encode(picture, 40, effort=effort))
    assert abs(psnr(picture, shown) - psnr(picture, expected)) < 0.05
    assert_close(codec.decode(data), shown)


def test_batches_are_decoded_in_their_order(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    plain = vqcodec.load("photo")
    files = [plain.encode(picture, 60, effort=0) for picture in small(photo)]
    files.append(plain.encode(photo[:40, :56], 20, effort=0))  # as large as the first, at another quality
    for shown, exact in zip(codec.decode_batch(files), plain.decode_batch(files), strict=True):
        assert_close(shown, exact)


def test_an_archive_is_packed_and_read_on_a_device(photo: np.ndarray, tmp_path: Path) -> None:
    pictures = [(picture, number) for number, picture in enumerate(small(photo))]
    for name, threads in (("one.vqa", 1), ("three.vqa", 3)):
        vqcodec.pack(pictures, tmp_path / name, quality=40, effort=0, device=DEVICE, threads=threads)
    path = tmp_path / "one.vqa"
    assert path.read_bytes() == (tmp_path / "three.vqa").read_bytes()
    with ArchiveReader(path) as reader:
        exact = vqcodec.load("photo").decode_batch([record.data for record in reader])
    on_device = ArchiveDataset(path, device=DEVICE, rgb=False).__getitems__(list(range(len(pictures))))
    for number, ((shown, label), expected) in enumerate(zip(on_device, exact, strict=True)):
        assert label == number
        assert_close(shown.permute(1, 2, 0).numpy(), expected.reshape(*expected.shape[:2], -1))


def test_small_pictures_are_packed_together_and_a_stopped_run_ends_in_the_same_bytes(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures of a batch decide each other's last bits, so a resumed run must have the same batches."""
    crops = [photo[number % 190 :, number % 200 :][:32, :48] for number in range(400)]
    inputs: list[tuple[np.ndarray, int]] = [(crop, number) for number, crop in enumerate(crops)]
    inputs[3] = (photo[:20, :20], 3)
    for broken in (33, 255, 300):  # so that blocks of records do not begin where batches do
        inputs[broken] = (np.zeros((0, 4), np.uint8), 0)
    together, codes_of = [], Transform._codes

    def counted(transform: Transform, images: torch.Tensor, *rest: Any) -> list[torch.Tensor]:
        together.append(len(images))
        return codes_of(transform, images, *rest)

    def interrupt(state: Any) -> None:
        if state.done >= 350:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"quality": 40, "effort": 0, "device": DEVICE, "on_error": "skip"}
    monkeypatch.setattr(Transform, "_codes", counted)
    whole = vqcodec.pack(inputs, tmp_path / "whole.vqa", threads=1, **settings)
    assert (whole.records, len(whole.skipped)) == (397, 3)
    assert together == [31, 1, 31, *[32] * 5, 31, 32, 31, 32, 32, 16]
    with pytest.raises(KeyboardInterrupt):
        vqcodec.pack(inputs, tmp_path / "again.vqa", threads=3, progress=interrupt, **settings)
    done = vqcodec.pack(iter(inputs), tmp_path / "again.vqa", threads=2, **settings)
    assert done.resumed % 32 and done.left_out == 3
    assert (tmp_path / "again.vqa").read_bytes() == (tmp_path / "whole.vqa").read_bytes()


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_a_batch_is_encoded_like_its_pictures(photo: np.ndarray, device: str) -> None:
    codec, pictures = vqcodec.load("photo", device), small(photo)
    for effort in (0, 1):
        files = codec.encode_batch(pictures, 50, effort=effort, threads=3)
        for data, picture in zip(files, pictures, strict=True):
            alone = codec.encode(picture, 50, effort=effort)
            assert data == alone if device == "cpu" else abs(len(data) - len(alone)) <= 0.1 * len(alone)
            shown, expected = codec.decode(data).astype(int), codec.decode(alone)
            assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 1.0
    assert codec.encode_batch([]) == []


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(vqcodec.VqcodecError, match="no CUDA device"):
        vqcodec.load("photo", "cuda")


def test_pillow_images_come_back_from_a_device(codec: vqcodec.Codec, photo_path: Path) -> None:
    with Image.open(photo_path) as image:
        picture = image.crop((0, 0, 90, 70)).convert("L")
    picture.putalpha(picture.copy())
    shown = codec.decode_image(codec.encode(picture, 80, effort=0))
    assert shown.mode == "LA" and shown.size == (90, 70)
