"""What speed.py starts and asks, one JSON object a line each way, so that contestants can take turns.

    python -I -S speed_worker.py processes      runs commands
    python speed_worker.py vqcodec MODEL        encodes and decodes in this process; VQCODEC_KERNEL chooses the kernel
    python speed_worker.py classic              the same for the classic codecs

The first line out is `{}`, or says why this kernel cannot run here. Imports stand where they are needed: Linux
counts what the starting process holds into the peak memory of a command, so what runs commands must be small.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
Answering = Callable[..., Answer]


def run_command(command: list[str]) -> Answer:
    """Seconds and peak resident bytes of one process that ends well."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    return {"failed": status} if status else {"seconds": seconds, "peak_bytes": usage.ru_maxrss * unit}


def vqcodec(model: str) -> Answering:
    """Encoding and decoding with the split of the seconds, and hashes of the bytes and of the pixels."""
    from vqcodec import _core, load
    from vqcodec.errors import InvalidInputError

    try:
        _core.kernel()
    except InvalidInputError as error:
        print(json.dumps({"missing": str(error)}))
        sys.exit()
    codec, spent = load(model), time_core()

    def encode(picture: str, quality: float, threads: int) -> Answer:
        pixels = pixels_of(picture)
        answer, data = timed(lambda: codec.encode(pixels, quality, effort=0, threads=threads))
        answer["pixels"] = pixels[..., 0].size
        steps = {"analysis": "analyze", "coding": "write_file", "verification": "read_codes"}
        split = {step: spent.pop(function) for step, function in steps.items()}
        return {**answer, "steps": split, "data": data.hex(), "digest": digest(data)}

    def decode(data: str, threads: int) -> Answer:
        answer, pixels = timed(lambda: codec.decode(bytes.fromhex(data), threads=threads))
        answer["pixels"] = pixels[..., 0].size
        codec.codes(bytes.fromhex(data), threads=threads)
        steps = {"prior_and_coder": spent.pop("read_codes"), "synthesis": spent.pop("decode")}
        steps["synthesis"] -= steps["prior_and_coder"]
        return {**answer, "steps": steps, "digest": digest(pixels.tobytes())}

    return in_process(encode, decode)


def classic() -> Answering:
    """Encoding and decoding as rd_coders does it, with the settings that are asked for."""
    from dataclasses import replace

    from PIL import AvifImagePlugin
    from rd_coders import CLASSIC

    def coder(name: str, threads: int, settings: dict[str, Any]) -> Any:
        AvifImagePlugin.DEFAULT_MAX_THREADS = threads
        if name == "jxl":
            from pillow_jxl import JpegXLImagePlugin

            JpegXLImagePlugin.DECODE_THREADS = threads or -1
        return replace(CLASSIC[name](), settings=settings)

    def encode(picture: str, quality: float, **setup: Any) -> Answer:
        chosen, pixels = coder(**setup), pixels_of(picture)
        answer, data = timed(lambda: chosen.encode(pixels, quality))
        return {**answer, "pixels": pixels[..., 0].size, "data": data.hex()}

    def decode(data: str, **setup: Any) -> Answer:
        chosen, coded = coder(**setup), bytes.fromhex(data)
        answer, pixels = timed(lambda: chosen.decode(coded))
        return {**answer, "pixels": pixels[..., 0].size}

    return in_process(encode, decode)


def in_process(encode: Answering, decode: Answering) -> Answering:
    """What answers `{"step": "encode" or "decode", ...}`."""
    steps = {"encode": encode, "decode": decode}
    return lambda step, **request: steps[step](**request)


def time_core() -> dict[str, float]:
    """Seconds spent in each function of the core, from now on: the codec finds all of them in that module."""
    from vqcodec import _core

    spent: dict[str, float] = {}

    def watch(name: str, function: Callable[..., Any]) -> None:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
            return result

        setattr(_core, name, call)

    for name in ("analyze", "write_file", "read_codes", "decode"):
        watch(name, getattr(_core, name))
    return spent


def timed(work: Callable[[], Any]) -> tuple[Answer, Any]:
    started = time.perf_counter()
    result = work()
    return {"seconds": time.perf_counter() - started}, result


def pixels_of(picture: str) -> Any:
    """Pixels (H, W, 3) uint8 of a picture file; reading it is not what is measured."""
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        return np.array(image.convert("RGB"))


def digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def main() -> None:
    kinds: dict[str, Callable[..., Answering]]
    kinds = {"processes": lambda: run_command, "vqcodec": vqcodec, "classic": classic}
    answer = kinds[sys.argv[1]](*sys.argv[2:])
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
