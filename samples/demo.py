"""What `make demo` runs: a shipped model on images it never saw, a fine-tuning, and an export that stands alone.

Everything it writes lies under demo_out/. Only public names of the package are used.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import mrcnn

mrcnn.quiet_start()  # first of all: what follows would import TensorFlow aloud

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from nuts.dataset import Nuts  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from rich.table import Table  # noqa: E402

HERE = Path(__file__).parent
NUCLEI, NUTS = HERE / "nuclei", HERE / "nuts"
DRAWN_FROM = 0.5  # score; the COCO numbers use all detections
console = Console(highlight=False)


class LossBar(keras.callbacks.Callback):
    """One progress bar for the whole run, with the losses beside it."""

    def on_train_begin(self, logs=None):
        columns = TextColumn("  {task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, TextColumn("{task.fields[losses]}"), console=console)
        self.task = self.bar.add_task("training", total=self.params["epochs"] * self.params["steps"], losses="")
        self.steps, self.bar_totals = 0, []
        self.bar.start()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        losses = "  ".join(f"{name} {logs[name]:.2f}" for name in ("loss", "roi_class", "roi_mask"))
        self.bar.update(self.task, advance=1, losses=losses)
        if not console.is_terminal and self.steps % 10 == 1:  # a file shows no moving bar
            console.print(f"  step {self.steps:3d}  {losses}")

    def on_train_end(self, logs=None):
        self.bar.stop()


def find_nuclei(checkpoint, out):
    """(a) The shipped model on twelve validation images: COCO numbers, detections, drawings beside the ground truth."""
    console.rule("[bold]a. Nuclei: the shipped model on images it was not trained on", align="left")
    model = mrcnn.load_model(checkpoint)
    data = mrcnn.load_coco(NUCLEI / "images/annotations.json", NUCLEI / "images")
    result = mrcnn.evaluate(model, data, batch_size=4, out=out / "nuclei", progress=console.is_terminal)
    print(result)
    draw_beside_ground_truth(model, data, out / "nuclei")
    return model, data, result


def draw_beside_ground_truth(model, data, folder):
    images = [data.load_image(index) for index in range(len(data))]
    for index, matches in enumerate(mrcnn.iter_detect(model, images, score_threshold=DRAWN_FROM)):
        ground_truth = data.instances(index)
        drawing = mrcnn.draw(
            images[index],
            matches,
            ground_truth=ground_truth,
            class_names=data.class_names,
            labels=len(ground_truth) < 30,
            as_array=True,
        )
        mrcnn.save_image(folder / f"{Path(data.image_info[index]['path']).stem[:12]}.png", drawing)
    console.print(f"  drew {len(data)} images beside their ground truth in {folder}")


def fine_tune_nuts(checkpoint, steps, out):
    """(b) Another task from the same weights: four images, a `Dataset` subclass of forty lines."""
    console.rule("[bold]b. Nuts: fine-tuning on four images through a Dataset subclass", align="left")
    train_data, val_data = Nuts(NUTS / "images/train.json"), Nuts(NUTS / "images/val.json")
    recipe = mrcnn.recipes.get(Path(checkpoint).parent / "recipe.yaml").override(
        {
            "data.short_sides": [256, 288, 320],
            "data.crop": None,
            "data.scale_jitter": None,
            "data.rotate90": 0.5,
            "model.input.short_side": 320,
            "model.input.long_side": 512,
            "train.images": 4 * steps,
            "train.batch_size": 4,
            "train.warmup_images": 40,
        }
    )
    keras.utils.set_random_seed(0)  # of the layers that start anew
    model = recipe.build_model(train_data.class_names)
    report = mrcnn.load_weights(model, checkpoint)
    console.print(f"  from the nuclei weights: {len(report.loaded)} arrays fit, of other classes are:")
    for name, in_file, in_model in report.shape_skipped:
        console.print(f"    {name} {list(in_file)} -> {list(in_model)}")
    history = mrcnn.train(model, train_data, recipe=recipe, callbacks=[LossBar()], progress=False).history
    (out / "nuts").mkdir(parents=True, exist_ok=True)
    recipe.save(out / "nuts/recipe.yaml")
    mrcnn.save_checkpoint(model, out / "nuts/model.safetensors")
    first, last = (np.mean(part) for part in (history["loss"][:5], history["loss"][-5:]))
    seen, unseen = mrcnn.evaluate(model, train_data), mrcnn.evaluate(model, val_data, out=out / "nuts")
    draw_beside_ground_truth(model, train_data, out / "nuts")
    draw_beside_ground_truth(model, val_data, out / "nuts")
    return first, last, seen, unseen


def export_and_compare(model, data, out):
    """(c) A SavedModel, loaded by a process that cannot import this package, against the model in this one."""
    console.rule("[bold]c. Export: the same answers where only TensorFlow is installed", align="left")
    files = [image["path"] for image in data.image_info]
    saved = mrcnn.export_saved_model(model, out / "saved_model", images=files[:4])
    answers = out / "served.npz"
    command = [sys.executable, str(HERE / "serve.py"), str(saved), str(answers), *files]
    # Otherwise a GPU rounds the factors of products to 10 bits, and no two programs agree to 1e-3.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    environment = os.environ | {"NVIDIA_TF32_OVERRIDE": "0"}
    process = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
    served = np.load(answers)
    num, box_error, score_error, pixels = 0, 0.0, 0.0, 0
    same = True
    for number, here in enumerate(mrcnn.detect(model, files, score_threshold=None)):
        there = {name: served[f"{name}_{number}"] for name in ("boxes", "scores", "class_ids", "masks")}
        num += len(here)
        if not np.array_equal(here.class_ids, there["class_ids"]):
            same = False
            continue
        if len(here):
            box_error = max(box_error, float(np.abs(here.boxes - there["boxes"]).max()))
            score_error = max(score_error, float(np.abs(here.scores - there["scores"]).max()))
            pixels += int((here.masks != there["masks"]).sum())
    # A GPU's convolutions are chosen by their speed in each program; on a CPU both programs have the same ones.
    box_limit, score_limit = (0.25, 1e-3) if tf.config.list_physical_devices("GPU") else (1e-3, 1e-4)
    agree = same and box_error < box_limit and score_error < score_limit
    differences = f"boxes to {box_error:.0e} px, scores to {score_error:.0e}, {pixels} mask pixels off"
    verdict = "both agree" if agree else "THEY DIFFER"
    console.print(f"  {num} detections in {len(files)} images: {verdict} ({differences})")
    return saved, answers, agree


def summary(rows, out):
    table = Table(box=box.SIMPLE, title=f"Results (files are in {out}/)", title_justify="left", title_style="bold")
    for column in ("what", "result", "file"):
        table.add_column(column, no_wrap=True)
    for what, result, file in rows:
        table.add_row(what, result, str(file.relative_to(out)))
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_out"))
    parser.add_argument("--checkpoint", type=Path, default=NUCLEI / "run/model.safetensors")
    parser.add_argument("--steps", type=int, default=60, help="of the fine-tuning")
    args = parser.parse_args()
    started = time.monotonic()
    out = args.out

    model, data, nuclei = find_nuclei(args.checkpoint, out)
    first, last, seen, unseen = fine_tune_nuts(args.checkpoint, args.steps, out)
    saved, answers, agree = export_and_compare(model, data, out)

    summary(
        [
            (f"nuclei, {len(data)} unseen: box AP / AP50", ap(nuclei, "box"), out / "nuclei/metrics.json"),
            ("  mask AP / AP50", ap(nuclei, "mask"), out / "nuclei/metrics.json"),
            ("  detections", str(len(nuclei.detections)), out / "nuclei/detections.json"),
            ("  drawn beside the ground truth", f"{len(data)} images", out / "nuclei/*.png"),
            (f"nuts, loss over {args.steps} steps", f"{first:.2f} -> {last:.2f}", out / "nuts/model.safetensors"),
            ("  4 trained on: mask AP / AP50", ap(seen, "mask"), out / "nuts/*.png"),
            ("  2 unseen: mask AP / AP50", ap(unseen, "mask"), out / "nuts/metrics.json"),
            ("SavedModel", f"{size_of(saved):.0f} MB", saved),
            ("  in a process without mrcnn", "agrees" if agree else "DIFFERS", answers),
        ],
        out,
    )
    console.print(f"{time.monotonic() - started:.0f} seconds")
    sys.exit(0 if agree and last < first else 1)


def ap(result, kind):
    return f"{result[f'{kind}/AP']:.3f} / {result[f'{kind}/AP50']:.3f}"


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
