"""Before a long run: one image of the user's data is overfit, and what stands in the way is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import Failures, make_pipeline
from mrcnn.errors import InputError
from mrcnn.evaluation.overlap import box_iou, mask_iou
from mrcnn.inference import detect
from mrcnn.modeling.input import proposal_window
from mrcnn.recipes import Recipe
from mrcnn.structures.instances import Instances
from mrcnn.structures.tensors import Batch

WANTED_IOU = 0.8
_EVERY = 50  # steps between looks at the result
_RATE, _CLIP = 1e-3, 5.0
_NEEDED = ("objects", "class ids")  # stages without which nothing can be trained


@dataclasses.dataclass(frozen=True)
class DryRunStage:
    """One thing that must be right, and whether it is."""

    name: str
    ok: bool
    result: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.result}"


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What came of it; printable."""

    image_id: int | str
    steps: int
    mask_iou: float  # mean over the objects, best detection of the right class each
    stages: tuple[DryRunStage, ...]

    @property
    def ok(self) -> bool:
        """Whether the image was overfit."""
        return self.mask_iou >= WANTED_IOU

    def __str__(self) -> str:
        head = f"image {self.image_id!r}, {self.steps} steps: mask IoU {self.mask_iou:.2f}, wanted {WANTED_IOU:g}"
        lines = [head, *map(str, self.stages)]
        if not self.ok:
            broken = [stage.name for stage in self.stages if not stage.ok]
            where = f"look first at: {broken[0]}" if broken else "no stage fails alone; try more steps"
            lines.append(f"the image was not overfit; {where}")
        return "\n".join(lines)


def dry_run(
    model: Any,
    dataset: Dataset,
    recipe: Recipe,
    *,
    index: int | None = None,
    steps: int = 300,
    log: Callable[[str], None] | None = None,
) -> DryRun:
    """Overfit one image, without augmentation, and look at every stage on the way.

    Args:
        model: as it would be trained; left as it is, a copy trains.
        dataset: the user's training set.
        recipe: its resizing and its anchors.
        index: which image; None: the first that has an object.
        steps: at most; it ends when the image is overfit.
        log: called every few steps with a line on how far it is; None: silent.

    Raises:
        InputError: no image has an object.
        DataError: the image cannot be used.
    """
    if index is None:
        index = next((i for i in range(len(dataset)) if any(not a.is_crowd for a in dataset.annotations(i))), None)
        if index is None:
            raise InputError("dry run: no image of the training set has an object")
    one = dataset.subset([index])
    failures = Failures()
    batch = next(failures.iterate(make_pipeline(one, model, recipe.data, training=False, failures=failures)))
    before = _data_stages(batch, recipe, model.config.num_classes)
    if not all(stage.ok for stage in before if stage.name in _NEEDED):
        return DryRun(dataset.image_ids[index], 0, 0.0, before)  # no step can be made of it
    learner = type(model).from_config(model.get_config())
    learner.set_weights(model.get_weights())
    learner.compile(keras.optimizers.AdamW(_RATE, weight_decay=0.0, global_clipnorm=_CLIP))
    learner.optimizer.build(learner.trainable_variables)
    step = tf.function(learner.train_step, autograph=False)
    image, ground_truth = one.load_image(0), one.instances(0)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    iou, done = 0.0, 0
    while done < steps and iou < WANTED_IOU:
        for _ in range(min(_EVERY, steps - done)):
            learner.reset_metrics()
            last = {name: float(value) for name, value in step(batch).items()}
            first = first or last
            done += 1
        iou = _mask_iou(detect(learner, [image], score_threshold=None)[0], ground_truth)
        if log is not None:
            log(f"step {done}: loss {last['loss']:.3f}, mask IoU {iou:.2f}")
    stages = (*before, *_model_stages(learner, batch, recipe, image, ground_truth, first, last))
    return DryRun(dataset.image_ids[index], done, iou, stages)


def _data_stages(batch: Batch, recipe: Recipe, num_classes: int) -> tuple[DryRunStage, ...]:
    """What is wrong before the model has seen anything."""
    valid = batch["gt_valid"].numpy()[0] & ~batch["gt_crowd"].numpy()[0]
    boxes = batch["gt_boxes"].numpy()[0][valid]
    h, w = batch["content_shape"].numpy()[0]
    sides = boxes[:, 2:] - boxes[:, :2]
    masks = batch["gt_masks"].numpy()[0][valid]
    filled = masks.reshape(len(masks), -1).any(axis=1)
    ids = batch["gt_class_ids"].numpy()[0][valid]
    in_range = bool(((ids >= 1) & (ids <= num_classes)).all())
    small = f"smallest side {sides.min():.1f} pixels after resizing to {h} x {w}" if len(boxes) else "none"
    return (
        DryRunStage("objects", len(boxes) > 0, f"{len(boxes)} in the batch"),
        DryRunStage("class ids", in_range, f"{sorted(set(ids.tolist()))} of 1..{num_classes}"),
        DryRunStage("object sizes", bool(len(boxes)) and bool((sides >= 2).all()), small),
        DryRunStage("masks", bool(filled.all()), f"{int((~filled).sum())} of {len(masks)} empty after resizing"),
        DryRunStage("mask grid", recipe.data.mask_side >= 14, f"{recipe.data.mask_side} cells a side"),
    )


def _model_stages(
    model: Any, batch: Batch, recipe: Recipe, image: np.ndarray, ground_truth: Instances, first: Any, last: Any
) -> list[DryRunStage]:
    """Where in the model it is lost, after learning."""
    valid = batch["gt_valid"].numpy()[0] & ~batch["gt_crowd"].numpy()[0]
    geometry = model.config.rpn.geometry
    boxes = batch[geometry.ground_truth].numpy()[0][valid]
    output = model.rpn(model.extract_features(batch, training=False), training=False)
    anchors = geometry.iou(boxes, output.anchors).numpy().max(axis=1, initial=0)
    window = proposal_window(tf.shape(batch["image"])[1:3], batch["content_shape"], model.config.input)
    proposals = model.rpn.propose(output, window, for_training=False)
    result = proposals.boxes.numpy()[0][proposals.valid.numpy()[0]]
    proposed = geometry.iou(boxes, result).numpy().max(axis=1, initial=0)
    detections = detect(model, [image], score_threshold=None)[0]
    things = _without_crowd(ground_truth)
    overlap = box_iou(things.boxes, detections.boxes)
    right = (overlap >= 0.5) & (things.class_ids[:, None] == detections.class_ids[None])
    seen = (overlap >= 0.5).any(axis=1)
    wrong = seen & ~right.any(axis=1)
    n = len(boxes)
    terms = ", ".join(f"{name} {first[name]:.2f} to {value:.2f}" for name, value in last.items())
    return [
        DryRunStage(
            "anchors",
            bool((anchors >= 0.3).all()),
            f"{int((anchors < 0.3).sum())} of {n} objects overlap no anchor by 0.3; worst {anchors.min(initial=1):.2f}",
        ),
        DryRunStage("losses", np.isfinite(last["loss"]) and last["loss"] < 0.5 * first["loss"], terms),
        DryRunStage(
            "proposals", bool((proposed >= 0.5).all()), f"{int((proposed >= 0.5).sum())} of {n} objects proposed"
        ),
        DryRunStage(
            "boxes", bool(seen.all()), f"{int(seen.sum())} of {len(things)} objects detected, IoU at least 0.5"
        ),
        DryRunStage("classes", not wrong.any(), f"{int(wrong.sum())} of {len(things)} detected as something else"),
    ]


def _mask_iou(result: Instances, ground_truth: Instances) -> float:
    """Mean over the true objects of the best mask IoU with a detection of the same class."""
    things = _without_crowd(ground_truth)
    if not (len(things) and things.has_masks and result.has_masks):
        return 0.0
    is_right = things.class_ids[:, None] == result.class_ids[None]
    return float((mask_iou(things, result) * is_right).max(axis=1, initial=0).mean())


def _without_crowd(instances: Instances) -> Instances:
    return instances if instances.is_crowd is None else instances[~instances.is_crowd]
