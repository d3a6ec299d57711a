"""Archives give back what was put into them, in any order, and notice damage block by block."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec import ArchiveReader, ArchiveWriter, Record, errors, merge, recover

VECTORS = Path(__file__).parent / "vectors"
# those of centred codes came after the archive
GOLDEN = sorted(path for path in VECTORS.glob("v*-*-*.vqc") if "centred" not in path.name)
FILES = [path.read_bytes() for path in GOLDEN]


def write(path: Path, records: list[Record], **options: object) -> Path:
    with ArchiveWriter(path, **options) as writer:  # type: ignore[arg-type]
        for record in records:
            writer.add(record.data, record.name, record.label, record.extra)
    return path


def sample(count: int) -> list[Record]:
    return [Record(FILES[i % len(FILES)], f"class {i % 7}/{i}.png", i % 7, b"%d" % i) for i in range(count)]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Records of about four blocks."""
    return sample(900)


@pytest.fixture
def archive(tmp_path: Path, records: list[Record]) -> Path:
    return write(tmp_path / "a.vqa", records, note=b"a note")


RECORDS = st.builds(
    Record,
    st.sampled_from(FILES),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
    st.none() | st.integers(1 - 2**31, 2**31 - 1),
    st.binary(max_size=20),
)


@given(st.lists(RECORDS, max_size=40))
def test_records_come_back(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    path = write(tmp_path_factory.mktemp("a") / "a.vqa", records)
    with ArchiveReader(path) as reader:
        assert list(reader) == records
        assert [reader[number] for number in range(len(records))] == records


def test_any_order(archive: Path, records: list[Record]) -> None:
    reader = ArchiveReader(archive, cache_bytes=1)
    numbers = random.Random(0).sample(range(len(records)), 200)
    assert reader.note == b"a note" and len(reader) == 900 and reader.blocks >= 4
    assert [reader[number] for number in numbers] == [records[number] for number in numbers]
    assert reader.records(numbers) == [records[number] for number in numbers]
    assert reader[-1] == records[-1]
    assert reader.find("class 3/10.png") == 10
    with pytest.raises(KeyError):
        reader.find("nobody")
    for number in (900, -901):
        with pytest.raises(IndexError):
            reader[number]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reader.__getitem__, numbers)) == [records[number] for number in numbers]


def test_a_reader_can_be_pickled(archive: Path, records: list[Record]) -> None:
    reader = ArchiveReader(archive)
    data = pickle.dumps(reader)
    assert pickle.loads(data)[7] == records[7]
    write(archive, records[:5], force=True)
    assert reader[800] == records[800]  # it still has the old file
    with pytest.raises(errors.CorruptedError, match="not the archive that it was"):
        pickle.loads(data)


def test_files_of_all_versions_are_kept(tmp_path: Path) -> None:
    with ArchiveReader(VECTORS / "v1-archive.vqa") as reader:
        assert [record.data for record in reader] == FILES
        assert [record.name for record in reader] == [path.name for path in GOLDEN]
        assert [record.label for record in reader] == list(range(len(FILES)))
        assert reader[3].extra == b"\x03"
        assert reader.note == b"golden"


def test_an_archive_appears_when_it_is_sealed(tmp_path: Path) -> None:
    path, part = tmp_path / "a.vqa", tmp_path / "a.vqa.part"
    with pytest.raises(RuntimeError), ArchiveWriter(path) as writer:
        for record in sample(300):
            writer.add(record.data)
        assert part.exists() and not path.exists()
        raise RuntimeError
    assert part.exists() and not path.exists()
    with pytest.raises(errors.TruncatedError, match="not sealed"):
        ArchiveReader(part)
    with pytest.raises(FileExistsError, match="unfinished"):
        ArchiveWriter(path)
    with ArchiveWriter(path, resume=True) as writer:
        assert 0 < writer.records < 300
        with pytest.raises(BlockingIOError, match="another process"):
            ArchiveWriter(path, resume=True)
        for record in sample(300)[writer.records :]:
            writer.add(record.data)
    assert not part.exists()
    with ArchiveReader(path) as reader:
        assert [record.data for record in reader] == [record.data for record in sample(300)]
    with pytest.raises(FileExistsError):
        ArchiveWriter(path)


def test_resumed_only_with_the_same_note(tmp_path: Path) -> None:
    path = tmp_path / "a.vqa"
    writer = ArchiveWriter(path, note=b"old")
    for record in sample(300):
        writer.add(record.data)
    writer.leave()
    with pytest.raises(errors.InvalidInputError, match="other settings"):
        ArchiveWriter(path, note=b"new", resume=True)
    with ArchiveWriter(path, note=b"new", resume=True, force=True) as writer:
        assert writer.records == 0
    assert ArchiveReader(path).note == b"new"


def test_a_second_name_left_by_a_kill_does_not_endanger_the_archive(archive: Path, records: list[Record]) -> None:
    part = archive.with_name("a.vqa.part")
    part.hardlink_to(archive)
    with pytest.raises(FileExistsError):
        ArchiveWriter(archive, resume=True)
    assert not part.exists() and ArchiveReader(archive)[5] == records[5]


def test_append_and_merge(archive: Path, records: list[Record], tmp_path: Path) -> None:
    before = ArchiveReader(archive).placed(0).data
    write(archive, records[:3], append=True)
    assert list(ArchiveReader(archive)) == records + records[:3]
    assert ArchiveReader(archive).placed(0).data == before and ArchiveReader(archive).note == b"a note"
    other = write(tmp_path / "b.vqa", records[5:9])
    assert merge([archive, other, archive], tmp_path / "c.vqa") == 2 * 903 + 4
    assert list(ArchiveReader(tmp_path / "c.vqa")) == (records + records[:3]) + records[5:9] + records + records[:3]


def test_shards_merge_to_the_archive_of_all(tmp_path: Path) -> None:
    """Where shards end with blocks: what many machines write is what one would."""
    records = [Record(FILES[0], None, i % 10) for i in range(1024)]
    whole = write(tmp_path / "whole.vqa", records)
    shards = [write(tmp_path / f"{n}.vqa", records[512 * n : 512 * n + 512]) for n in range(2)]
    merge(shards, tmp_path / "merged.vqa")
    assert (tmp_path / "merged.vqa").read_bytes() == whole.read_bytes()


def test_cut_at_every_block(archive: Path, records: list[Record], tmp_path: Path) -> None:
    reader = ArchiveReader(archive)
    data, cut, saved = archive.read_bytes(), tmp_path / "cut.vqa", tmp_path / "saved.vqa"
    before = 0
    for number in range(reader.blocks):
        placed = reader.placed(number)
        for end in (placed.offset, placed.offset + 1, placed.offset + len(placed.data) - 1):
            cut.write_bytes(data[:end])
            with pytest.raises(errors.TruncatedError):
                ArchiveReader(cut)
            assert recover(cut, saved, force=True).records == before
            assert list(ArchiveReader(saved)) == records[:before]
        before += len(placed.block)
    for end in range(placed.offset + len(placed.data), len(data)):
        cut.write_bytes(data[:end])
        with pytest.raises(errors.VqcodecError):
            ArchiveReader(cut)
    assert recover(cut, saved, force=True).records == 900
    assert saved.read_bytes() == data


def test_a_flip_costs_at_most_a_block(archive: Path, records: list[Record], tmp_path: Path) -> None:
    whole, damaged, saved = archive.read_bytes(), tmp_path / "damaged.vqa", tmp_path / "saved.vqa"
    blocks = [len(ArchiveReader(archive).placed(n).block) for n in range(ArchiveReader(archive).blocks)]
    choose = random.Random(1)
    places = [choose.randrange(8 * len(whole)) for _ in range(40)]
    for bit in [*places, *(8 * (len(whole) - back) + 3 for back in range(1, 40, 4)), 3, 30, 90]:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(data)
        found = readable(damaged)
        assert all(record == records[number] for number, record in found.items())
        assert not found or len(found) in {900 - size for size in blocks}
        recovery = recover(damaged, saved, force=True)
        assert recovery.records in {900, *(900 - size for size in blocks)}
        assert set(ArchiveReader(saved)) <= set(records)


def readable(path: Path) -> dict[int, Record]:
    """The records that can be read."""
    found = {}
    try:
        with ArchiveReader(path) as reader:
            for number in range(len(reader)):
                try:
                    found[number] = reader[number]
                except errors.VqcodecError as error:
                    assert "records " in str(error)
    except errors.VqcodecError:
        assert not found
    return found


def test_other_files_are_not_archives(tmp_path: Path) -> None:
    for data, error in (
        (b"", errors.TruncatedError),
        (b"VQ", errors.TruncatedError),
        (FILES[0], errors.NotVqaError),
        (b"VQA\x1a\x07", errors.UnsupportedVersionError),
        (b"PK\x03\x04" * 100, errors.NotVqaError),
    ):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(error):
            ArchiveReader(tmp_path / "a")
    with pytest.raises(errors.NotVqaError):
        recover(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.vqa") as writer:
        for arguments, error in (
            ((FILES[0][:-1],), errors.TruncatedError),
            ((b"no",), errors.NotVqcError),
            ((FILES[0], ""), errors.InvalidInputError),
            ((FILES[0], "n" * 4097), errors.LimitError),
            ((FILES[0], None, 2**31), errors.InvalidInputError),
            ((FILES[0], None, 1, b"e" * 65537), errors.LimitError),
        ):
            with pytest.raises(error):
                writer.add(*arguments)
        assert writer.records == 0
    assert len(ArchiveReader(tmp_path / "a.vqa")) == 0
