"""`mrcnn data`: data sets opened, counted, checked, converted, split, merged; and how other subcommands open them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import BAD_INPUT, print_note, print_result
from mrcnn.cli.options import Images

_LISTED = 50

Source = Annotated[Path, typer.Argument(metavar="PATH", help="File or folder in any format of `mrcnn data formats`.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="New folder; nothing is ever replaced.")]
FormatName = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Format of PATH. Default: recognized by its content.")
]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME", help="One split of PATH. Default: all images.")]
To = Annotated[str, typer.Option("--to", metavar="NAME", help="Format to write.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse what would be lost, and data with any issue.")]
Seed = Annotated[int, typer.Option(help="Of the random choice.")]

commands = typer.Typer(help="Open, count, check, convert, split and merge data sets.", no_args_is_help=True)


@commands.command()
def formats() -> None:
    """List the formats, how each is recognized, and which can be written."""
    for name, description, is_writable in mrcnn.list_formats():
        print_result(f"{name}{' (read and write)' if is_writable else ''}: {description}")


@commands.command(no_args_is_help=True)
def stats(path: Source, images: Images = None, format: FormatName = None, split: Split = None) -> None:
    """Count images, objects and classes."""
    print_result(mrcnn.load_dataset(path, images, format=format, split=split).stats())


@commands.command(no_args_is_help=True)
def check(
    path: Source,
    images: Images = None,
    format: FormatName = None,
    pixels: Annotated[
        bool, typer.Option("--pixels/--no-pixels", help="Decode every image, to find near-duplicates.")
    ] = True,
) -> None:
    """List what is wrong or suspicious, also between splits; exit code 2 if there is anything."""
    sets = mrcnn.load_splits(path, images, format=format, validate=False)
    first, *others = sets
    issues = sets[first].check({name: sets[name] for name in others}, name=first, pixels=pixels)
    for issue in issues[:_LISTED]:
        print_result(f"{issue.kind}: {issue}")
    if len(issues) > _LISTED:
        print_result(f"and {len(issues) - _LISTED} more")
    print_result(f"{len(issues)} issues in {sum(map(len, sets.values()))} images")
    raise typer.Exit(BAD_INPUT if issues else 0)


@commands.command(no_args_is_help=True)
def convert(
    path: Source,
    out: Target,
    to: To,
    images: Images = None,
    format: FormatName = None,
    split: Split = None,
    strict: Strict = False,
) -> None:
    """Write a data set in another format; list what that format cannot hold."""
    _save(mrcnn.load_dataset(path, images, format=format, split=split, strict=strict), out, to, strict)


@commands.command("split", no_args_is_help=True)
def split_set(
    path: Source,
    out: Target,
    parts: Annotated[str, typer.Option(metavar="NAME=F,...", help="Parts and their fractions.")] = "train=0.8,val=0.2",
    to: To = "coco",
    images: Images = None,
    format: FormatName = None,
    seed: Seed = 0,
) -> None:
    """Divide a data set at random, each class in the same proportions; each part goes to a folder of OUT."""
    fractions = {}
    for item in parts.split(","):
        name, _, value = item.partition("=")
        try:
            fractions[name.strip()] = float(value)
        except ValueError as error:
            raise typer.BadParameter(f"{item!r}: expected NAME=FRACTION", param_hint="--parts") from error
    for name, part in mrcnn.load_dataset(path, images, format=format).split(fractions, seed=seed).items():
        _save(part, out / name, to, False)


@commands.command(no_args_is_help=True)
def merge(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Data sets, of any formats.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="New folder.")],
    to: To = "coco",
) -> None:
    """Write several data sets as one; classes of one name are one class."""
    first, *others = [mrcnn.load_dataset(path) for path in paths]
    _save(first.merge(*others), out, to, False)


@commands.command(no_args_is_help=True)
def remap(
    path: Source,
    out: Target,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="Another name; repeatable.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="NAME", help="A class to keep; repeatable.")
    ] = None,
    to: To = "coco",
    images: Images = None,
    format: FormatName = None,
) -> None:
    """Rename, join or leave out classes."""
    dataset = mrcnn.load_dataset(path, images, format=format)
    names = dict(item.partition("=")[::2] for item in rename or ())
    dataset = dataset.rename_classes(names) if names else dataset
    _save(dataset.keep_classes(keep) if keep else dataset, out, to, False)


@commands.command(no_args_is_help=True)
def subset(
    path: Source,
    out: Target,
    number: Annotated[int, typer.Option(min=1, metavar="N", help="Images to take.")],
    to: To = "coco",
    images: Images = None,
    format: FormatName = None,
    split: Split = None,
    seed: Seed = 0,
) -> None:
    """Take some images at random, each class in proportion."""
    dataset = mrcnn.load_dataset(path, images, format=format, split=split)
    if number < len(dataset):
        dataset = dataset.split({"part": number / len(dataset)}, seed=seed)["part"]
    _save(dataset, out, to, False)


def _save(dataset: mrcnn.Dataset, out: Path, to: str, strict: bool) -> None:
    print_result(dataset.save(out, to, strict=strict))


def open_training_data(
    data: Path | None,
    train: Path | None,
    val: Path | None,
    images: dict[str, Path | None],
    format: str | None = None,
    strict: bool = False,
) -> tuple[mrcnn.Dataset, mrcnn.Dataset | None]:
    """The training and validation sets of `mrcnn train`: the splits of --data, or --train and --val.

    Raises:
        typer.BadParameter: neither or both are given, or --data has splits without "train".
    """
    if (data is None) == (train is None):
        raise typer.BadParameter("expected --data with the splits of a data set, or --train (and --val)")
    if data is None:
        training = mrcnn.load_dataset(str(train), images["train"], strict=strict)
        return training, None if val is None else mrcnn.load_dataset(val, images["val"], strict=strict)
    if val is not None:
        raise typer.BadParameter("--val is for --train; --data has its own splits")
    sets = mrcnn.load_splits(data, images["data"], format=format, strict=strict)
    training_set = sets["all"] if list(sets) == ["all"] else sets.get("train")
    if training_set is None:
        raise typer.BadParameter(f"{data} has the splits {', '.join(sets)}, none of which is train")
    print_note(", ".join(f"{name}: {len(part)} images" for name, part in sets.items()))
    return training_set, sets.get("val")


def expect_every_image(dataset: mrcnn.Dataset) -> None:
    """Refuse a set of which images were left out: numbers of an evaluation would be of another set.

    Raises:
        typer.BadParameter: names the first.
    """
    lost = [
        i
        for i in dataset.issues
        if i.annotation_id is None and i.message.endswith("left out") and i.image_id is not None
    ]
    if lost:
        raise typer.BadParameter(f"{len(lost)} images cannot be used, the first: {lost[0]}")
