"""The `mrcnn` command. Each subcommand reads its input, calls one public function and says where the result lies."""

from __future__ import annotations

import collections
import functools
import glob
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from typer.core import TyperGroup

import mrcnn

BAD_INPUT = 2
INTERNAL_ERROR = 1
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
RESULTS_FILE = "detections.json"
FORMATS = ("savedmodel", "onnx", "openvino", "tflite")

console = Console(highlight=False, soft_wrap=True)


class _Commands(TyperGroup):
    """A wrong option, a missing file or a broken annotation: one line on stderr and exit code 2, no traceback."""

    def main(self, args: Any = None, prog_name: str | None = None, *_: Any, **extra: Any) -> Any:
        """Run the command line; always ends in SystemExit."""
        args = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in args  # accepted anywhere, for one thinks of it after the failure
        args = [arg for arg in args if arg != "--debug"] or ["--help"]
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, prog_name or "mrcnn", standalone_mode=False, **extra)
        except Exception as error:
            if debug:
                raise
            code, line = _explain(error)
            if line:
                print(f"mrcnn: {line}", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and the one line for an exception."""
    if isinstance(error, typer.Abort):
        return 130, "stopped"
    if hasattr(error, "format_message"):  # a usage error of the command-line library
        line = _one_line(error.format_message()).removeprefix("Invalid value: ")
        context = getattr(error, "ctx", None)
        hint = f" (see: {context.command_path} --help)" if line and context is not None else ""
        return BAD_INPUT, line + hint  # no line where the help was shown
    if isinstance(error, (ValueError, RuntimeError)) and _raised_here(error):
        return BAD_INPUT, _one_line(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return BAD_INPUT, f"{error.filename}: {error.strerror}"
    inner = re.search(r"(?:DataError|ConfigError|WeightsError): (.*?)(?:\nTraceback|\n\n|$)", str(error), re.DOTALL)
    if inner:  # raised in a worker of the input pipeline, wrapped by TensorFlow
        return BAD_INPUT, _one_line(inner.group(1))
    return INTERNAL_ERROR, f"{type(error).__name__}: {_one_line(str(error))[:300]} (--debug shows where)"


def _raised_here(error: Exception) -> bool:
    """Whether this package raised it on purpose, rather than a library it called."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(mrcnn.__file__).parent)


def _one_line(text: str) -> str:
    return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


app = typer.Typer(
    name="mrcnn",
    cls=_Commands,
    help="Mask R-CNN: train, evaluate, detect, export.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Model = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="A run's folder, or any file `mrcnn weights` knows.")
]
Annotations = Annotated[Path, typer.Option("--data", metavar="ANN.json", help="Annotations in COCO format.")]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Folder of the images. Default: images/ beside the annotations."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if it is absent.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once; does not change the results.")]
Score = Annotated[float, typer.Option(min=0, max=1, help="Leave out what is scored below.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mrcnn {mrcnn.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(no_args_is_help=True)
def train(
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A name of `mrcnn recipes`, or a YAML or JSON file.")
    ],
    train: Annotated[Path, typer.Option(metavar="ANN.json", help="Training annotations in COCO format.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run: weights, recipe, history, curves.")],
    train_images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images of --train.")] = None,
    val: Annotated[Path | None, typer.Option(metavar="ANN.json", help="Validation annotations.")] = None,
    val_images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images of --val.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a field of the recipe, e.g. train.images=4000. Repeatable."
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="imagenet|none|FILE",
            help="What to start from: ImageNet weights of an installed package, random weights, or a file: a "
            "checkpoint, a run's folder, another program's detector, an ImageNet classifier.",
        ),
    ] = "imagenet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out; start where there is none.")
    ] = False,
    devices: Annotated[
        str,
        typer.Option(metavar="N|all|cpu:N", help="GPUs of this machine, or parts of its CPU; batch_size is of each."),
    ] = "1",
    workers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT,...", help="All machines of the run, in the same order on each; or TF_CONFIG."),
    ] = None,
    index: Annotated[int | None, typer.Option(min=0, help="Which of --workers this machine is.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only learn one image by heart, and say what stands in the way.")
    ] = False,
) -> None:
    """Train a model on a COCO data set and keep the run in a folder.

    SIGTERM and ctrl-C write a checkpoint before the run ends; the same command with --resume goes on from there.
    """
    _show_notes()
    several = workers is not None or "TF_CONFIG" in os.environ
    if (out / "model.safetensors").exists() and not (overwrite or resume or several or dry_run):
        raise typer.BadParameter(f"{out} holds a run already; choose another folder, or pass --resume or --overwrite")
    if val_images is not None and val is None:
        raise typer.BadParameter("--val-images without --val")
    if several and devices != "1":
        raise typer.BadParameter("--devices is for one machine; several use all of their GPUs")

    def choose() -> Any:
        if several:
            return mrcnn.join_workers(workers.split(",") if workers else (), index)
        return mrcnn.use_devices(devices)

    strategy = mrcnn.quiet_start(choose)  # only before anything is computed can the CPU be split, or others be joined
    config = mrcnn.recipes.get(recipe).override(_changes(changes or []))
    train_data = mrcnn.load_coco(train, train_images)
    val_data = mrcnn.load_coco(val, val_images) if val is not None else None
    model = config.build_model(train_data.class_names, train_data.category_ids)
    _start_from(model, weights)
    if dry_run:
        found = mrcnn.dry_run(model, train_data, config, say=console.print)
        console.print(escape(str(found)))
        raise typer.Exit(0 if found.ok else BAD_INPUT)
    mrcnn.train(
        model,
        train_data,
        val_data,
        recipe=config,
        out=out,
        strategy=strategy,
        resume=resume or (several and not overwrite),
        overwrite=overwrite,
    )
    _written(*(out / name for name in ("model.safetensors", "best.safetensors", "recipe.yaml", "history.csv")))


class _Notes(logging.Handler):
    """What the package has to say while it works, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"mrcnn: {self.format(record)}", file=sys.stderr)


def _show_notes() -> None:
    logger = logging.getLogger("mrcnn")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())


def _changes(items: Sequence[str]) -> dict[str, Any]:
    """{"train.images": 4000} of ["train.images=4000"]; values are read as YAML."""
    import yaml

    changes = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"--set {item}: expected KEY=VALUE")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {item}: the value is not YAML") from error
    return changes


def _start_from(model: mrcnn.MaskRCNN, weights: str) -> None:
    """Set the weights to begin with; a file may be a detector's or a classifier's, which its content tells."""
    if weights == "none":
        return
    file = None if weights == "imagenet" else weights
    try:
        if file is not None:
            console.print(escape(str(mrcnn.load_weights(model, file))))
            return
    except mrcnn.UnknownNetworkError:
        pass
    try:
        mrcnn.load_imagenet(model.backbone, model.config.backbone, file, roi_stage=model.roi_stage)
    except mrcnn.WeightsError as error:
        if file is not None:
            raise
        raise mrcnn.WeightsError(f"{error}; or start with --weights none") from error


@app.command(no_args_is_help=True)
def evaluate(model: Model, data: Annotations, out: Out, images: Images = None, batch_size: BatchSize = 1) -> None:
    """Measure a model: the COCO numbers for boxes and masks, as metrics.json and detections.json."""
    mrcnn.quiet_start()
    dataset = mrcnn.load_coco(data, images)
    result = mrcnn.evaluate(
        mrcnn.load_pretrained(model), dataset, batch_size=batch_size, out=out, progress=_at_terminal()
    )
    console.print(escape(str(result)))
    _written(out / "metrics.json", out / RESULTS_FILE)


@app.command(no_args_is_help=True)
def detect(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE|DIR|GLOB...", help="What to look at.")],
    model: Model,
    out: Out,
    score: Score = 0.5,
    batch_size: BatchSize = 1,
    threads: Threads = None,
    tile: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="Look at overlapping tiles of this side, and merge.")
    ] = None,
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Look at every image at several sizes and mirrored; takes 12 times as long."),
    ] = False,
) -> None:
    """Find the instances in images; writes each image with its instances drawn, and detections.json.

    detections.json is in COCO results format; image_id counts the images from 1, file_name says which one.
    """
    if augment and tile is not None:
        raise typer.BadParameter("--augment and --tile do not go together")
    files = _images(images)
    network = _for_inference(model, threads)
    names = _unique_names(files)
    table = Table("image", "found", "drawn as", box=None)
    results: list[dict[str, Any]] = []
    if tile is not None:
        found = (
            mrcnn.detect_tiled(network, file, tile, tile // 4, batch_size, score_threshold=score) for file in files
        )
    elif augment:
        found = (mrcnn.detect_augmented(network, file, score_threshold=score) for file in files)
    else:
        found = mrcnn.iter_detect(network, files, batch_size, score_threshold=score, progress=_at_terminal())
    for number, (file, name, instances) in enumerate(zip(files, names, found, strict=True), start=1):
        drawing = mrcnn.draw(file, instances, class_names=network.class_names, as_array=True)
        target = mrcnn.save_image(out / f"{name}.png", drawing)
        for result in mrcnn.to_coco_results(number, instances, network.category_ids):
            results.append({**result, "file_name": str(file)})
        table.add_row(escape(str(file)), str(len(instances)), escape(str(target)))
    mrcnn.save_json(results, out / RESULTS_FILE)
    console.print(table)
    _written(out / RESULTS_FILE)


def _for_inference(model: Path, threads: int | None) -> mrcnn.MaskRCNN:
    """The model of a file, folded, with so many threads to run on."""
    mrcnn.quiet_start(None if threads is None else lambda: mrcnn.set_threads(threads))
    return mrcnn.fold_batch_norm(mrcnn.load_pretrained(model))


@app.command(no_args_is_help=True)
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video that OpenCV reads.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The video to write: .mp4, .mov, .avi or .mkv.")],
    model: Model,
    score: Score = 0.5,
    batch_size: BatchSize = 1,
    threads: Threads = None,
) -> None:
    """Find the instances in every frame of a video; writes the video with them drawn.

    Frames keep their order and the video its frame rate; sound is left out. Small videos are enlarged as `mrcnn detect`
    enlarges small images.
    """
    reader = mrcnn.VideoReader(source)
    writer = mrcnn.VideoWriter(target, reader.fps)
    network = _for_inference(model, threads)
    frames: collections.deque[Any] = collections.deque()

    def feed() -> Iterator[Any]:
        for frame in reader:
            frames.append(frame)
            yield frame

    count, begin = 0, time.perf_counter()
    with writer, Progress(disable=not _at_terminal(), console=console) as progress:
        task = progress.add_task("frames", total=reader.num_frames)
        for instances in mrcnn.iter_detect(network, feed(), batch_size, score_threshold=score):
            writer.write(mrcnn.draw(frames.popleft(), instances, class_names=network.class_names, as_array=True))
            count += 1
            fps = count / (time.perf_counter() - begin)
            progress.update(task, advance=1, description=f"{fps:.2f} fps")
    console.print(f"{count} frames, {fps:.2f} fps")
    _written(target)


def _images(patterns: Sequence[str]) -> list[Path]:
    """Files of paths, folders (their images, sorted) and glob patterns, in the order given, each once."""
    files: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            kind = "a folder without images"
        elif path.exists():
            matches, kind = [path], ""
        else:
            matches = sorted(Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
            kind = "matches no file" if glob.has_magic(pattern) else "no such file or folder"
        if not matches:
            raise typer.BadParameter(f"{pattern}: {kind}")
        files += matches
    return list(dict.fromkeys(files))


def _unique_names(files: Sequence[Path]) -> list[str]:
    """File names to write to, without suffix: the stem, numbered where several images share it."""
    taken: set[str] = set()
    names = []
    for file in files:
        name, number = file.stem, 2
        while name in taken:
            name, number = f"{file.stem}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


@app.command(no_args_is_help=True)
def export(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Of a SavedModel: its versions; the next is written.")
    ],
    format: Annotated[
        str, typer.Option(metavar="|".join(FORMATS), help="What to write; see docs/serving.md and docs/export.md.")
    ] = "savedmodel",
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE|DIR|GLOB", help="To compare the export with the model on; default: noise."),
    ] = None,
    masks: Annotated[
        str, typer.Option(metavar="small|full|packed", help="On a grid in the box, on all pixels, eight in a byte.")
    ] = "small",
    score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out what is scored below.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen/--variables", help="Weights as constants: faster.")] = True,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse larger images; default: by the kind of masks.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Refuse more images in a request.")] = 16,
    version: Annotated[int | None, typer.Option(min=1, help="Number of the version; default: the next.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Fix the height of the images; default: any.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Fix the width of the images; default: any.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Of tflite: weights in 8 bits, a quarter of the size.")] = False,
) -> None:
    """Write a SavedModel for TensorFlow Serving, C++, or Python without this package; or a file for another runtime.

    All options but --format, --images and --int8 are for a SavedModel.
    """
    if format not in FORMATS:
        raise typer.BadParameter(f"expected one of {', '.join(FORMATS)}, got {format!r}", param_hint="--format")
    if int8 and format != "tflite":
        raise typer.BadParameter("only tflite stores weights in 8 bits; docs/export.md says why", param_hint="--int8")
    of_saved_model = {
        "--masks": masks != "small",
        "--score": score is not None,
        "--variables": not frozen,
        "--max-pixels": max_pixels,
        "--max-batch-size": max_batch_size != 16,
        "--version": version,
        "--height": height,
        "--width": width,
    }
    if format != "savedmodel" and any(of_saved_model.values()):
        given = ", ".join(name for name, value in of_saved_model.items() if value)
        raise typer.BadParameter(f"only a SavedModel has {given}", param_hint="--format")
    files = _images(images) if images else None
    mrcnn.quiet_start()
    if format != "savedmodel":
        write, name = {
            "onnx": (mrcnn.export_onnx, "model.onnx"),
            "openvino": (mrcnn.export_openvino, "model.xml"),
            "tflite": (functools.partial(mrcnn.export_tflite, int8=int8), "model.tflite"),
        }[format]
        _written(write(mrcnn.load_pretrained(model), out / name, images=files, log=console.print))
        return
    written = mrcnn.export_saved_model(
        mrcnn.load_pretrained(model),
        out,
        height=height,
        width=width,
        masks=masks,
        score_threshold=score,
        frozen=frozen,
        max_pixels=max_pixels,
        max_batch_size=max_batch_size,
        images=files,
        version=version,
        log=console.print,
    )
    _written(written)


@app.command(no_args_is_help=True)
def inspect(
    data: Annotations,
    out: Out,
    images: Images = None,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Whose resizing and anchors to hold the boxes against.")
    ] = "mask_rcnn_r50_fpn",
    samples: Annotated[int, typer.Option(min=0, help="Images to draw with their ground truth.")] = 8,
    pixels: Annotated[bool, typer.Option("--pixels", help="Decode every image, to find damaged ones.")] = False,
) -> None:
    """Look at a data set: counts, box sizes against the anchors, sample images, issues.

    --data may also be a batch (nonfinite_step....npz) that a training run kept because its loss was not finite.
    """
    mrcnn.quiet_start()
    if data.suffix == ".npz":
        text, files = mrcnn.inspect_batch(data, out)
        console.print(escape(text))
        _written(*files)
        return
    config = mrcnn.recipes.get(recipe)
    dataset = mrcnn.load_coco(data, images, validate=False)
    found = mrcnn.inspect(dataset, config, out=out, num_samples=samples, pixels=pixels)
    console.print(escape(str(found)))
    for issue in found.issues[:10]:
        console.print(f"  {escape(str(issue))}", style="yellow" if issue.fatal else None)
    if len(found.issues) > 10:
        console.print(f"  and {len(found.issues) - 10} more in {escape(str(out / 'report.json'))}")
    _written(*found.files)


WeightsFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="Weights of torchvision, detectron2, Detectron, matterport or mrcnn, or a run's folder."
    ),
]


@app.command(no_args_is_help=True)
def convert(
    file: WeightsFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store kernels in float16: half the size.")] = False,
) -> None:
    """Rewrite weights of any known program in this package's format, config and class names included."""
    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"{out}: expected a name that ends in .safetensors")
    mrcnn.quiet_start()
    model = mrcnn.load_pretrained(file)
    mrcnn.save_checkpoint(model, out, dtype="float16" if half else "float32", extra={"converted_from": file.name})
    console.print(f"{escape(str(file))}: {model.config.profile}, {model.config.num_classes} classes")
    _written(out)


@app.command(no_args_is_help=True)
def weights(
    file: WeightsFile,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Say what a model of this recipe would take from the file.")
    ] = None,
) -> None:
    """Say what a weights file is: family, backbone, classes, heads, and what in it is of no use."""
    mrcnn.quiet_start()
    console.print(escape(str(mrcnn.describe_weights(file))))
    if recipe is not None:
        config = mrcnn.recipes.get(recipe)
        model = mrcnn.MaskRCNN(config.model)
        console.print(escape(str(mrcnn.load_weights(model, file))))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="Print this one as YAML.")] = None,
) -> None:
    """List the recipes, or print one as YAML to change and pass to `train --recipe`."""
    import yaml

    mrcnn.quiet_start()
    if name is not None:
        print(yaml.safe_dump(mrcnn.recipes.get(name).to_dict(), sort_keys=False), end="")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("recipe", "backbone", "short side", "images"):
        table.add_column(column, no_wrap=True)
    for key, recipe in mrcnn.recipes.named().items():
        table.add_row(
            key,
            recipe.model.backbone.title,
            str(recipe.model.input.short_side),
            f"{recipe.train.images:,}",
        )
    console.print(table)


@app.command("build-ops")
def build_ops(
    cuda: Annotated[
        bool | None,
        typer.Option("--cuda/--no-cuda", help="With CUDA kernels or without; default: if there is an nvcc."),
    ] = None,
) -> None:
    """Compile the RoIAlign op for this TensorFlow into the user's cache; optional, the results stay the same."""
    mrcnn.quiet_start()
    raise typer.Exit(mrcnn.build_ops(cuda))


@app.command()
def doctor() -> None:
    """Say what this machine offers and what the package makes of it: versions, GPUs, the RoIAlign op, threads."""
    mrcnn.quiet_start()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for subject, answer in mrcnn.diagnose().items():
        table.add_row(subject, escape(answer))
    console.print(table)


def _at_terminal() -> bool:
    return sys.stderr.isatty()


def _written(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            console.print(f"wrote {escape(str(path))}")


def main() -> None:
    """Entry point of the `mrcnn` command."""
    app()


if __name__ == "__main__":
    main()
