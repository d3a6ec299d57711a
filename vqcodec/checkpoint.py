"""Training checkpoints: safetensors shards under 16 MiB in one folder a step, complete or absent.

The optimiser's moments are kept in bfloat16. The trainer rounds its live moments the same way when it
saves, so that a run that was killed and resumed follows the same loss curve as one that was not.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vqcodec.errors import InvalidModelError

SHARD_BYTES = 15 << 20
KEEP = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], texts: dict[str, str]) -> Path:
    """Write a checkpoint `folder/step-NNNNNNNN` (a rename makes it appear whole) and drop all but the newest two."""
    target = folder / f"step-{step:08d}"
    if target.exists():  # a run that resumed from an older step: the same state again
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".writing-*"):  # of a run that was killed
        shutil.rmtree(stale)
    scratch = folder / f".writing-{step:08d}"
    scratch.mkdir()
    for number, names in enumerate(_shards(tensors)):
        save_file({name: tensors[name].contiguous() for name in names}, scratch / f"state-{number}.safetensors")
    (scratch / "run.json").write_text(json.dumps({"step": step, **texts}))
    scratch.rename(target)
    for old in _complete(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def load(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint folder back: step, tensors and texts."""
    try:
        texts = json.loads((folder / "run.json").read_text())
        step = int(texts.pop("step"))
        tensors: dict[str, Tensor] = {}
        for shard in sorted(folder.glob("state-*.safetensors")):
            with safe_open(shard, "pt") as file:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError) as error:
        raise InvalidModelError(f"{folder} is not a readable checkpoint: {error}") from error
    return step, tensors, texts


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint below `folder`, or the folder itself where it is one."""
    if (folder / "run.json").exists():
        return folder
    found = _complete(folder)
    return found[-1] if found else None


def _complete(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first; whatever else lies there is not ours."""
    found = (path.parent for path in folder.glob("step-*/run.json"))
    return sorted(path for path in found if re.fullmatch(r"step-\d{8}", path.name))


def _shards(tensors: dict[str, Tensor]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append(name)
        room -= size
    return shards


def rounded(moment: Tensor) -> Tensor:
    """An optimiser moment as the checkpoint stores it."""
    return moment.to(torch.bfloat16)
