"""Packing on a real Ray cluster on this machine: the bytes of a local run, whatever dies on the way."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROGRAM, TESTS
from PIL import Image

from vqcodec import ArchiveReader, ArchiveWriter, errors, pack, weights

FAST: dict[str, Any] = {"effort": 0, "threads": 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of three workers, which find the data sets of this module."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        context = ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
        yield context.address_info["gcs_address"]
        ray.shutdown()


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)


class Logged:
    """A data set that writes down which process loads which input, and where one kills its process once."""

    def __init__(self, folder: Path, count: int, broken: tuple[int, ...] = (), deadly: int | None = None) -> None:
        self.folder, self.broken, self.deadly = folder, broken, deadly
        self.images = pictures(count)
        folder.mkdir()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        with (self.folder / str(os.getpid())).open("a") as log:
            log.write(f"{number}\n")
        if number == self.deadly and not (self.folder / "killed").exists():
            (self.folder / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.broken:
            raise OSError(f"picture {number} is broken")
        return self.images[number], number

    def loaded(self) -> dict[int, list[int]]:
        """The inputs that each process has loaded."""
        logs = [path for path in self.folder.iterdir() if path.name.isdigit()]
        return {int(path.name): [int(line) for line in path.read_text().split()] for path in logs}


def test_the_same_bytes_from_every_source(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pictures(10), np.arange(10)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, image in enumerate(images):
            place = tmp_path / "folder" / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
            for name, data in (
                (f"{number}.png", (place / f"{number}.png").read_bytes()),
                (f"{number}.txt", b"about it"),
                (f"{number}.cls", b"%d" % number),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    shutil.copy(weights.resolve("photo").path, tmp_path / "mine.safetensors")
    pairs = list(zip(images, map(int, labels), strict=True))
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    for source in ("folder", "a.tar", "a.npy", "a.npz", images, pairs, iter(pairs)):
        same = pairs if isinstance(source, Iterator) else source
        alone = pack(same, "local.vqa", model="mine.safetensors", force=True, **FAST)
        seen: list[int] = []
        done = pack(
            source, "ray.vqa", model="mine.safetensors", force=True, engine="ray", shard_inputs=4,
            progress=lambda state, seen=seen: seen.append(state.done), **FAST,
        )  # fmt: skip
        assert Path("ray.vqa").read_bytes() == Path("local.vqa").read_bytes()
        assert seen == list(range(1, 11)) and (done.done, done.records) == (10, alone.records)
        assert not Path("ray.vqa.shards").exists()


def test_a_ray_data_set(cluster: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    data = pytest.importorskip("ray.data")
    rows = [{"image": image, "label": number} for number, image in enumerate(pictures(9))]
    pack(rows, tmp_path / "local.vqa", **FAST)
    for engine in ("local", "ray"):
        dataset = data.from_items(rows, override_num_blocks=3)
        pack(dataset, tmp_path / "ray.vqa", engine=engine, shard_inputs=4, force=True, **FAST)
        assert (tmp_path / "ray.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()


def test_lossless(cluster: str, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 4000, (7, 12, 10), np.uint16)
    pack(deep, tmp_path / "local.vqa", lossless=True)
    pack(deep, tmp_path / "ray.vqa", lossless=True, engine="ray", shard_inputs=3)
    assert (tmp_path / "ray.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()


def test_a_killed_worker(cluster: str, tmp_path: Path) -> None:
    """In the middle of a shard, with blocks behind it and inputs left out before and after."""
    broken = (3, 420, 700, 701, 899, 1499)
    alone = Logged(tmp_path / "alone", 1500, broken)
    whole = pack(alone, tmp_path / "local.vqa", on_error="skip", **FAST)
    source = Logged(tmp_path / "log", 1500, broken, deadly=750)
    done = pack(source, tmp_path / "ray.vqa", on_error="skip", engine="ray", shard_inputs=400, effort=0)
    assert (tmp_path / "ray.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()
    assert done.skipped == whole.skipped and [name for name, _ in done.skipped] == [f"input {n}" for n in broken]

    killed = int((tmp_path / "log" / "killed").read_text())
    loaded = source.loaded()
    assert len(loaded) > 2 and loaded[killed][-1] == 750
    again = [number for process in loaded if process != killed for number in loaded[process] if 400 <= number < 800]
    assert 400 + 256 <= again[0] < 750 and again == list(range(again[0], 800))  # behind the last whole block


def test_a_worker_that_always_dies(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.cluster.RETRIES", 0)
    source = Logged(tmp_path / "log", 20, deadly=15)
    with pytest.raises(errors.VqcodecError, match="inputs 10 to 19: "):
        pack(source, tmp_path / "a.vqa", engine="ray", shard_inputs=10, **FAST)
    assert not (tmp_path / "a.vqa").exists()


RUN = """
import sys, ray
from vqcodec import pack
from test_cluster import Logged
from pathlib import Path
ray.init(sys.argv[1], log_to_driver=False)
source = Logged(Path("log").absolute(), 2000)
pack(source, "a.vqa", effort=0, engine="ray", shard_inputs=300, threads=2)
"""


def test_a_killed_driver(cluster: str, tmp_path: Path) -> None:
    """Shards that were whole stay; the others go on; so does the archive that had begun."""
    running = subprocess.Popen([sys.executable, "-c", RUN, cluster], cwd=tmp_path)
    shards = tmp_path / "a.vqa.shards"
    while running.poll() is None and len(list(shards.glob("*.vqa"))) < 3:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    whole = [int(path.stem) for path in shards.glob("*.vqa")]
    assert len(whole) >= 3 and not (tmp_path / "a.vqa").exists()
    source = Logged(tmp_path / "again", 2000)
    with pytest.raises(errors.InvalidInputError, match="other settings"):
        pack(source, tmp_path / "a.vqa", effort=0, quality=20, engine="ray", shard_inputs=300)
    with pytest.raises(errors.InvalidInputError, match="other settings or another source"):
        pack(source, tmp_path / "a.vqa", effort=0, engine="ray", shard_inputs=290)
    assert not source.loaded()
    pack(source, tmp_path / "a.vqa", effort=0, engine="ray", shard_inputs=300)
    loaded = {number // 300 for numbers in source.loaded().values() for number in numbers}
    assert loaded and not loaded & set(whole)
    pack(source, tmp_path / "local.vqa", **FAST)
    assert (tmp_path / "a.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()


def test_a_shard_that_is_let_go_of_late(cluster: str, tmp_path: Path) -> None:
    """The worker of a run that was killed may live a moment longer than who begins it again."""
    (tmp_path / "a.vqa.shards").mkdir()
    held = ArchiveWriter(tmp_path / "a.vqa.shards" / "000000.vqa")
    threading.Timer(1, held.leave).start()
    assert pack(pictures(3), tmp_path / "a.vqa", engine="ray", **FAST).records == 3


def test_stopped_here_it_goes_on_there(cluster: str, tmp_path: Path) -> None:
    """A local run takes up that of a cluster and the other way round."""

    def interrupt(state: Any) -> None:
        if state.done == 700:
            raise KeyboardInterrupt

    images = pictures(900)
    pack(images, tmp_path / "whole.vqa", **FAST)
    ray, local = {"engine": "ray", "shard_inputs": 250, **FAST}, FAST
    for number, (first, second) in enumerate([(ray, local), (local, ray), (ray, ray)]):
        path = tmp_path / f"{number}.vqa"
        with pytest.raises(KeyboardInterrupt):
            pack(images, path, progress=interrupt, **first)
        assert pack(images, path, **second).resumed == 512
        assert path.read_bytes() == (tmp_path / "whole.vqa").read_bytes()


def test_broken_pictures_stop_with_their_names(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for number, image in enumerate(pictures(12)):
        Image.fromarray(image).save(tmp_path / "f" / f"{number:02d}.png")
    good = (tmp_path / "f" / "07.png").read_bytes()
    (tmp_path / "f" / "07.png").write_bytes(b"not a picture")
    settings: dict[str, Any] = {"engine": "ray", "shard_inputs": 5, **FAST}
    with pytest.raises(errors.UnsupportedImageError, match=r"^07\.png: "):
        pack(tmp_path / "f", tmp_path / "a.vqa", **settings)
    (tmp_path / "f" / "07.png").write_bytes(good)
    pack(tmp_path / "f", tmp_path / "a.vqa", **settings)
    pack(tmp_path / "f", tmp_path / "local.vqa", **FAST)
    assert (tmp_path / "a.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()
    with pytest.raises(OSError, match="picture 2 is broken"):
        pack(Logged(tmp_path / "log", 4, broken=(2,)), tmp_path / "b.vqa", **settings)


def test_a_shard_of_nothing_but_broken_pictures(cluster: str, tmp_path: Path) -> None:
    inputs: list[Any] = list(pictures(10))
    inputs[3:9] = [np.zeros((0, 4), np.uint8)] * 6
    whole = pack(inputs, tmp_path / "local.vqa", on_error="skip", **FAST)
    done = pack(inputs, tmp_path / "ray.vqa", on_error="skip", engine="ray", shard_inputs=4, **FAST)
    assert (tmp_path / "ray.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()
    assert done == whole and done.left_out == 6


def test_another_source_is_not_taken_up(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for number, image in enumerate(pictures(12)):
        Image.fromarray(image).save(tmp_path / "f" / f"{number:02d}.png")
    (tmp_path / "f" / "11.png").write_bytes(b"not a picture")
    settings: dict[str, Any] = {"engine": "ray", "shard_inputs": 4, **FAST}
    with pytest.raises(errors.UnsupportedImageError, match=r"11\.png"):
        pack(tmp_path / "f", tmp_path / "a.vqa", **settings)
    (tmp_path / "f" / "03.png").rename(tmp_path / "f" / "033.png")
    with pytest.raises(errors.InvalidInputError, match="another source"):
        pack(tmp_path / "f", tmp_path / "a.vqa", **settings)
    done = pack(tmp_path / "f", tmp_path / "a.vqa", on_error="skip", force=True, **settings)
    assert (done.records, done.left_out) == (11, 1)
    with ArchiveReader(tmp_path / "a.vqa") as reader:
        assert [record.name for record in reader][3] == "033.png"


def test_wrong_requests(cluster: str, tmp_path: Path) -> None:
    source = Logged(tmp_path / "log", 3)
    source.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(errors.InvalidInputError, match="cannot be sent"):
        pack(source, tmp_path / "a.vqa", engine="ray")
    with pytest.raises(errors.InvalidInputError, match="at least 1 input"):
        pack(pictures(2), tmp_path / "b.vqa", engine="ray", shard_inputs=0)
    with pytest.raises(errors.InvalidInputError, match="on processors only"):
        pack(pictures(2), tmp_path / "b.vqa", engine="ray", lossless=True, device="cuda")
    with pytest.raises(errors.InvalidInputError, match="engine is 'local' or 'ray', not 'spark'"):
        pack(pictures(2), tmp_path / "b.vqa", engine="spark")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir() if "b.vqa" in path.name] == []


def test_the_command(cluster: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(20))
    command = [*PROGRAM, "pack", tmp_path / "a.npy", tmp_path / "a.vqa", "--effort", "0", "--engine", "ray"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAY_ADDRESS": cluster})
    assert ran.returncode == 0 and "20 pictures" in ran.stderr, ran.stderr
    pack(pictures(20), tmp_path / "local.vqa", **FAST)
    assert (tmp_path / "a.vqa").read_bytes() == (tmp_path / "local.vqa").read_bytes()


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "vqcodec.cluster", raising=False)
    with pytest.raises(errors.InvalidInputError, match=r"pip install 'vqcodec\[ray\]'"):
        pack(pictures(2), tmp_path / "a.vqa", engine="ray")
    assert not list(tmp_path.iterdir())
