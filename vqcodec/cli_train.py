"""The commands of the training world: `vqcodec train` and `vqcodec export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqcodec.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    import numpy as np

START_CROPS = 32  # from which codebooks start


def train(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders of photos (FOLDER@0.75 for photos at 0.75 of their sides), "
            "or torchvision:CLASS:ROOT for a stored torchvision dataset."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for checkpoints and TensorBoard curves.")],
    preset: Annotated[str, typer.Option(help=f"Model to train: {', '.join(PRESETS)}.")] = "photo",
    start_from: Annotated[
        str | None, typer.Option("--from", help="Built-in model or model file whose weights to start from.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all; may be changed when resuming.")] = 20_000,
    until: Annotated[int | None, typer.Option(min=1, help="Stop early, after this step of the schedule.")] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Let the model know the class of a picture: one folder for each class.")
    ] = False,
    quality: Annotated[float, typer.Option(min=0, max=100, help="The one quality of a model with labels.")] = 50.0,
    batch: Annotated[int, typer.Option(min=1, help="Images a step, over all processes.")] = 8,
    crop: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 192,
    rate: Annotated[
        float, typer.Option(min=0, help="Learning rate before it falls; lower it for a model that is trained already.")
    ] = TrainConfig.peak_rate,
    decay: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps, at the end, in which the rate falls to 0.")
    ] = TrainConfig.decay,
    validation: Annotated[Path | None, typer.Option(help="Folder of photos to validate on.")] = None,
    checkpoint_steps: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = 0,
) -> None:
    """Train a model on photos; run the same command again to resume after a stop.

    Under `torchrun --nproc-per-node N -m vqcodec train ...` the batch is shared by N processes.
    """
    import torch

    from vqcodec import checkpoint, weights
    from vqcodec.errors import InvalidInputError
    from vqcodec.photos import CropSampler, load_classes, load_folders
    from vqcodec.progress import TrainingLog
    from vqcodec.successors import go_on_as
    from vqcodec.train import Trainer, connect, disconnect, resume, run, start

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}", param_hint="--preset")
    if PRESETS[preset].codebook_rate and not start_from:
        raise typer.BadParameter("this preset goes on from a trained model, say `--from photo`", param_hint="--preset")
    if until is not None and until > steps:
        raise typer.BadParameter("lies beyond --steps", param_hint="--until")
    if labels and (len(sources) > 1 or validation):
        raise typer.BadParameter("goes with one folder of classes, and without --validation", param_hint="--labels")
    device = connect()
    model_config, classes = PRESETS[preset], None
    if labels:
        photos, classes = load_classes(Path(sources[0]))
        try:
            model_config = model_config.with_labels(max(classes) + 1, quality)
        except ValueError as error:
            raise InvalidInputError(f"{sources[0]}: {error}") from error
    else:
        photos = [photo for source in sources for photo in _load(source)]
    held_out = load_folders([validation]) if validation else []
    found = checkpoint.latest(output)
    config = TrainConfig(steps=steps, batch=batch, crop=crop, peak_rate=rate, decay=decay, seed=seed)
    sampler = CropSampler(photos, crop, 2 * model_config.stride, seed, classes)
    if found:
        trainer = resume(found, device, steps=steps, batch=batch, crop=crop, peak_rate=rate, decay=decay)
        if trainer.model.config != model_config or trainer.config.seed != seed:
            raise InvalidInputError(f"{output} holds a run of another preset, seed or number of labels")
    elif start_from:
        model = weights.load_networks(weights.resolve(start_from))
        try:
            images = torch.from_numpy(sampler.batch(0, 0, START_CROPS)).permute(0, 3, 1, 2).to(device) / 255.0
            model = go_on_as(model, model_config, images)
        except ValueError as error:
            raise InvalidInputError(f"model {start_from} is not of preset {preset}") from error
        trainer = Trainer(model, config, device)
    else:
        trainer = start(model_config, config, sampler, device)
    with TrainingLog(output, steps, trainer.step, quiet=trainer.rank != 0) as log:
        for note in sampler.notes:
            log.note(note)
        run(trainer, sampler, held_out, output, log, until or steps, checkpoint_steps)
    disconnect()


def _load(source: str) -> list[np.ndarray]:
    """The photos of a folder, maybe resized, or of a stored torchvision dataset."""
    from vqcodec.photos import load_folders, load_resized, load_torchvision

    kind, _, rest = source.partition(":")
    name, _, root = rest.partition(":")
    if kind == "torchvision":
        return load_torchvision(name, Path(root))
    folder, _, scale = source.rpartition("@")
    if re.fullmatch(r"0?\.\d+", scale) and not Path(source).exists():
        return load_resized(Path(folder), float(scale))
    return load_folders([Path(source)])


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, or the folder of a run (its newest checkpoint).")],
    output: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    name: Annotated[str, typer.Option(help="Name written into the model file.")] = "custom",
    description: Annotated[str, typer.Option(help="One line about the model.")] = "",
    photos: Annotated[
        Path | None, typer.Option(help="Folder of training photos: rounds the prior to what they need.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite an existing file.")] = False,
) -> None:
    """Turn a training checkpoint into the one model file that encodes and decodes.

    With --photos the files become up to 1 % smaller: weights of 8 bits then err where it matters least.
    """
    from vqcodec.export import export_checkpoint
    from vqcodec.files import refuse_existing, write_file

    refuse_existing(output, force)
    data = export_checkpoint(checkpoint, name=name, description=description, photos=photos)
    write_file(output, data, force=force)
    typer.echo(f"{output}: {len(data)} bytes", err=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(train)
    app.command()(export)
