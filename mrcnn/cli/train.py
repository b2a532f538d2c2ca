"""`mrcnn train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mrcnn
from mrcnn.cli.console import BAD_INPUT, is_quiet, print_note, print_result, print_written, start
from mrcnn.cli.datasets import open_training_data
from mrcnn.cli.options import Imports

if TYPE_CHECKING:
    import tensorflow as tf


RecipeName = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="A name of `mrcnn recipes`, or a YAML or JSON file.")
]
Run = Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run: weights, recipe, history, curves.")]
Data = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Data set with its splits, any format of `mrcnn data formats`.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Images of --data.")]
Format = Annotated[str | None, typer.Option(metavar="NAME", help="Format of --data. Default: recognized.")]
Train = Annotated[Path | None, typer.Option(metavar="PATH", help="Training set, instead of --data.")]
TrainImages = Annotated[Path | None, typer.Option(metavar="DIR", help="Images of --train.")]
Val = Annotated[Path | None, typer.Option(metavar="PATH", help="Validation set, with --train.")]
ValImages = Annotated[Path | None, typer.Option(metavar="DIR", help="Images of --val.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse data with faulty records; else these are named and left out.")
]
Epochs = Annotated[
    float | None,
    typer.Option(metavar="N", help="Length of the run in passes over the training set, instead of train.images."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a field of the recipe, e.g. train.images=4000. Repeatable."
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        metavar="imagenet|none|NAME|FILE",
        help="What to start from: the backbone's own ImageNet weights, random weights, a name of "
        "`mrcnn weights --list`, or a file: a checkpoint, a run's folder, another program's detector, an ImageNet "
        "classifier.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume from the last checkpoint in --out; start where there is none.")
]
Devices = Annotated[
    str, typer.Option(metavar="N|all|cpu:N", help="GPUs of this machine, or parts of its CPU; batch_size is of each.")
]
Workers = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT,...", help="All machines of the run, in the same order on each; or TF_CONFIG."),
]
Index = Annotated[int | None, typer.Option(min=0, help="Which of --workers this machine is.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Overfit one image and report which stage fails.")]


def train(
    recipe: RecipeName,
    out: Run,
    data: Data = None,
    images: Images = None,
    format: Format = None,
    train: Train = None,
    train_images: TrainImages = None,
    val: Val = None,
    val_images: ValImages = None,
    strict: Strict = False,
    epochs: Epochs = None,
    changes: Changes = None,
    weights: Weights = "imagenet",
    overwrite: Overwrite = False,
    resume: Resume = False,
    devices: Devices = "1",
    workers: Workers = None,
    index: Index = None,
    dry_run: DryRun = False,
    imports: Imports = None,
) -> None:
    """Train a model on a data set and keep the run in a folder.

    SIGTERM and ctrl-C write a checkpoint before the run ends; the same command with --resume continues from there.
    """
    several = workers is not None or "TF_CONFIG" in os.environ
    if not (overwrite or resume or several or dry_run):
        _expect_no_run(out)
    if val_images is not None and val is None:
        raise typer.BadParameter("--val-images without --val")
    fields = parse_changes(changes or [])
    _expect_one_length(epochs, fields)
    strategy = _choose_devices(devices, several, workers, index)
    config = mrcnn.recipes.get(recipe).override(fields)
    folders = {"data": images, "train": train_images, "val": val_images}
    train_data, val_data = open_training_data(data, train, val, folders, format, strict)
    model = config.build_model(
        train_data.class_names,
        train_data.category_ids,
        stuff_names=train_data.stuff_names,
        stuff_category_ids=train_data.stuff_category_ids,
    )
    load_initial_weights(model, weights)
    if dry_run:
        report = mrcnn.dry_run(model, train_data, config, log=print_note)
        print_result(report)
        raise typer.Exit(0 if report.ok else BAD_INPUT)
    mrcnn.train(
        model,
        train_data,
        val_data,
        recipe=config,
        out=out,
        epochs=epochs,
        progress=not is_quiet(),
        strategy=strategy,
        resume=resume or (several and not overwrite),
        overwrite=overwrite,
    )
    print_written(*(out / name for name in ("model.safetensors", "best.safetensors", "recipe.yaml", "history.csv")))


def _expect_no_run(out: Path) -> None:
    is_held = (out / "train.lock").exists()  # perhaps by another training, which mrcnn.train names
    if (out / "model.safetensors").exists() and not is_held:
        raise typer.BadParameter(f"{out} holds a run already; choose another folder, or pass --resume or --overwrite")


def _expect_one_length(epochs: float | None, fields: Mapping[str, object]) -> None:
    """A run is as long as --epochs or the recipe says, not both."""
    if epochs is not None and epochs <= 0:
        raise typer.BadParameter(f"expected more than 0, got {epochs:g}", param_hint="--epochs")
    if epochs is not None and "train.images" in fields:
        raise typer.BadParameter("--epochs and --set train.images both state the length of the run; pass one of them")


def _choose_devices(
    devices: str, several: bool, workers: str | None, index: int | None
) -> tf.distribute.Strategy | None:
    """This machine's devices, or all machines of the run.

    Only before anything is computed can the CPU be split, or others be joined.
    """
    if several and devices != "1":
        raise typer.BadParameter("--devices is for one machine; several use all of their GPUs")

    def choose() -> tf.distribute.Strategy:
        if several:
            return mrcnn.join_workers(workers.split(",") if workers else (), index)
        return mrcnn.use_devices(devices)

    return start(choose)


def parse_changes(items: Sequence[str]) -> dict[str, object]:
    """{"train.images": 4000} of ["train.images=4000"]; values are read as YAML."""
    import yaml

    changes: dict[str, object] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"--set {item}: expected KEY=VALUE")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {item}: the value is not YAML") from error
    return changes


def load_initial_weights(model: mrcnn.MaskRCNN, weights: str) -> None:
    """Load the weights to start from; whether a file is a detector's or a classifier's, its content says."""
    if weights == "none":
        return
    file = None if weights == "imagenet" else weights
    try:
        if file is not None:
            print_note(mrcnn.load_weights(model, file))
            return
    except mrcnn.UnknownNetworkError:
        pass
    try:
        mrcnn.load_imagenet(model.backbone, model.config.backbone, file, roi_stage=model.roi_stage)
    except (mrcnn.WeightsError, OSError) as error:  # OSError: what is not here cannot be downloaded
        if file is not None:
            raise
        raise mrcnn.WeightsError(
            f"{error}; --weights takes a name or a file of weights to start from, or none for random weights"
        ) from error
