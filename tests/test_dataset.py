"""Archives as torch data sets: any order, any workers, pixels and codes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import vqcodec
from vqcodec import ArchiveDataset, ArchiveReader, ArchiveWriter, errors, load, merge, pack

torch = pytest.importorskip("torch")
loaders = pytest.importorskip("torch.utils.data")

IMAGES = np.random.default_rng(3).integers(0, 256, (300, 20, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a") / "a.vqa"
    pack([(image, number % 10) for number, image in enumerate(IMAGES)], path, effort=0)
    return path


def wanted(archive: Path, number: int) -> np.ndarray:
    return load().decode(ArchiveReader(archive)[number].data)


def test_pixels(archive: Path) -> None:
    data = ArchiveDataset(archive)
    assert len(data) == 300
    for number in (0, 299, -1, 7):
        picture, label = data[number]
        assert picture.dtype == torch.uint8 and picture.shape == (3, 20, 24) and picture.is_contiguous()
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), wanted(archive, number))
        assert label == number % 300 % 10


def test_codes(archive: Path) -> None:
    data = ArchiveDataset(archive, what="codes")
    codes, label = data[5]
    assert codes.dtype == torch.int32 and label == 5
    assert np.array_equal(codes.numpy(), vqcodec.codes(ArchiveReader(archive)[5].data)[0])
    with pytest.raises(errors.InvalidInputError, match="latents"):
        ArchiveDataset(archive, what="latents")  # type: ignore[arg-type]


@pytest.mark.parametrize("context", ["fork", "spawn", None])
def test_workers(archive: Path, context: str | None) -> None:
    data = ArchiveDataset(archive)
    assert data[0] is not None  # used before the workers start
    options = {"num_workers": 2, "multiprocessing_context": context} if context else {}
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).tolist()
    batches = list(loaders.DataLoader(data, 64, sampler=order, **options))
    pictures, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert labels.tolist() == [number % 10 for number in order]
    for picture, number in list(zip(pictures, order, strict=True))[::37]:
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), wanted(archive, number))


def test_transforms(archive: Path) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    crop = v2.Compose([v2.RandomCrop(16), v2.ToDtype(torch.float32, scale=True)])
    data = ArchiveDataset(archive, transform=crop, target_transform=lambda label: label + 100)
    picture, label = data[3]
    assert picture.shape == (3, 16, 16) and picture.dtype == torch.float32 and 0 <= picture.min() < picture.max() <= 1
    assert label == 103


def test_gray_alpha_and_missing_labels(tmp_path: Path) -> None:
    gray, alpha = IMAGES[0, ..., 0], np.concatenate([IMAGES[0], IMAGES[1, ..., :1]], axis=2)
    pack([(gray, 1), alpha], tmp_path / "a.vqa")
    assert [(tuple(x.shape), y) for x, y in ArchiveDataset(tmp_path / "a.vqa")] == [((3, 20, 24), 1), ((3, 20, 24), -1)]
    shapes = [tuple(picture.shape) for picture, _ in ArchiveDataset(tmp_path / "a.vqa", rgb=False)]
    assert shapes == [(1, 20, 24), (4, 20, 24)]
    pack([gray], tmp_path / "b.vqa")
    assert ArchiveDataset(tmp_path / "b.vqa")[0].shape == (3, 20, 24)


def test_lossless_records_are_exact(tmp_path: Path) -> None:
    pack([(IMAGES[0], 1)], tmp_path / "a.vqa", lossless=True)
    pack([(IMAGES[1], 2)], tmp_path / "b.vqa")
    merge([tmp_path / "a.vqa", tmp_path / "b.vqa"], tmp_path / "c.vqa")
    (exact, one), (lossy, two) = ArchiveDataset(tmp_path / "c.vqa").__getitems__([0, 1])
    assert (one, two) == (1, 2) and np.array_equal(exact.permute(1, 2, 0).numpy(), IMAGES[0])
    assert not np.array_equal(lossy.permute(1, 2, 0).numpy(), IMAGES[1])


def test_pickling(archive: Path) -> None:
    data = pickle.loads(pickle.dumps(ArchiveDataset(archive)))
    assert np.array_equal(data[9][0].permute(1, 2, 0).numpy(), wanted(archive, 9))


def test_batches_equal_single_pictures() -> None:
    """Sizes, qualities, modes and versions mixed, on any number of threads."""
    random = np.random.default_rng(5)
    shapes = [(20, 30, 3)] * 9 + [(32, 32)] * 5 + [(32, 32, 4)] * 3 + [(70, 90, 3)] * 2 + [(33, 17, 2), (20, 1100, 3)]
    files = [
        load().encode(random.integers(0, 256, shape, np.uint8), 30 + 10 * (number % 3), effort=0)
        for number, shape in enumerate(shapes)
    ]
    for threads in (1, 2, 0):
        pixels, codes = load().decode_batch(files, threads=threads), load().codes_batch(files, threads=threads)
        for data, picture, grids in zip(files, pixels, codes, strict=True):
            assert np.array_equal(picture, load().decode(data))
            assert np.array_equal(grids[0], load().codes(data)[0])
    with pytest.raises(errors.CorruptedError):
        load().decode_batch([*files[:3], files[3][:-5] + bytes(5)])
    assert load().decode_batch([]) == []


def test_two_levels_together() -> None:
    vectors = Path(__file__).parent / "vectors"
    codec = load(vectors / "picture2.safetensors")
    files = [path.read_bytes() for path in sorted(vectors.glob("v2-picture2-*.vqc"))]
    files = [*files, *files]
    for data, picture in zip(files, codec.decode_batch(files), strict=True):
        assert np.array_equal(picture, codec.decode(data))


def test_torch_decodes_a_batch_as_it_does_single_pictures(archive: Path) -> None:
    transform = pytest.importorskip("vqcodec.transform").Transform
    from vqcodec import weights

    networks = transform(weights.load_networks(load().info))
    files = [record.data for record in ArchiveReader(archive).records(range(5))]
    headers = [vqcodec.read_header(data) for data in files]
    exact = load().decode_batch(files)
    for picture, pixels in zip(networks.synthesize_batch(load().codes_batch(files), headers), exact, strict=True):
        assert picture.shape == pixels.shape
        assert np.abs(picture.astype(int) - pixels).max() <= 1


def test_an_error_names_its_record(tmp_path: Path) -> None:
    foreign = (Path(__file__).parent / "vectors" / "v2-picture-dot.vqc").read_bytes()
    with ArchiveWriter(tmp_path / "a.vqa") as writer:
        writer.add(load().encode(IMAGES[0], effort=0))
        writer.add(foreign)
    with pytest.raises(errors.ModelMissingError, match=r"^record 1: .*needs model"):
        ArchiveDataset(tmp_path / "a.vqa").__getitems__([0, 1])
