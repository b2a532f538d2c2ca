"""A model measured on a data set: the ground truth-free path, the very one that is exported, then the COCO numbers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.evaluation import CocoMetric, EvaluationResult, Metric, compare_class_names
from mrcnn.evaluation.coco import MAX_DETS
from mrcnn.inference import detect_dataset
from mrcnn.progress import Progress
from mrcnn.training.devices import gather_bytes, num_workers, worker_index


def evaluate(
    model: Any,
    dataset: Any,
    *,
    batch_size: int = 1,
    out: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    max_dets: Sequence[int] = MAX_DETS,
    keypoint_sigmas: Sequence[float] | None = None,
    metrics: Sequence[Metric] = (),
    progress: bool = False,
    log: Callable[[str], None] | None = None,
) -> EvaluationResult:
    """Detect in every image of a data set and compute the COCO numbers.

    A model made under a strategy looks at images on all of its devices. On several machines each looks at its own
    part of the data set and all get the same result; every one of them must call this.

    Areas, crowd regions and polygons are those of the data set's annotations, so the numbers equal those of the
    official tool on the written detections.json.

    Args:
        model: a `MaskRCNN`.
        dataset: a `Dataset` with as many classes as the model.
        batch_size: images of one padded shape run at once, on each device of the model; does not change the numbers.
        out: directory to write metrics.json and detections.json to; None = write nothing.
        score_threshold: drop detections scored below; None (as COCO wants it) = what the model's config let through.
        mask_threshold: lowest probability that belongs to the object.
        max_dets: cuts of detections an image and class; see `CocoMetric`. The model's own number of detections an
            image limits what a larger cut can find.
        keypoint_sigmas: f[J], for other joints than COCO's 17.
        metrics: further metrics, which see the same detections; each is reset first.
        progress: report how far it is: a bar where standard error is a terminal, else a line every 30 seconds.
        log: called with each such line, in place of standard error.

    Returns:
        numbers "box/AP", "mask/AP50", ..., and those of `metrics` as "name/key"; per-class table, precision-recall
        curves, detections; printable. Empty: no images or no objects give -1 throughout.

    Raises:
        InputError: the data set's classes are not those of the model; two metrics of one name; or, on several machines,
            a metric without `get_state` and `merge`.
    """
    difference = compare_class_names(model.class_names, dataset.class_names)
    if difference is not None:
        raise InputError(f"evaluate: {difference}")
    strategy = getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()
    machines = num_workers(strategy)
    local = strategy.num_replicas_in_sync // machines
    network: Any = model
    if local > 1:
        network, batch_size = _OnLocalReplicas(model, strategy, local), batch_size * local
    metric = CocoMetric(dataset.class_names, dataset.category_ids, max_dets=max_dets, keypoint_sigmas=keypoint_sigmas)
    every = (metric, *metrics)
    _check_metrics(metrics, machines)
    for further in metrics:
        further.reset()
    part = own_part(dataset, worker_index(strategy), machines)
    detections = detect_dataset(
        network,
        part,
        batch_size,
        score_threshold=score_threshold,
        mask_threshold=mask_threshold,
    )
    shown = Progress("evaluation", len(part), log=log, shown=progress)
    for index, (image_id, instances) in enumerate(detections):
        for one in every:
            one.update(image_id, part.record(index), instances)
        shown.update(index + 1)
    shown.finish()
    if machines > 1:
        for one in every:
            states = gather_bytes(strategy, pickle.dumps(one.get_state()))  # type: ignore[attr-defined]  # checked above
            one.reset()
            for state in states:  # in the order of the images, so that no machine's result differs from another's
                one.merge(pickle.loads(state))  # type: ignore[attr-defined]
    result = metric.result()
    for further in metrics:
        result.numbers |= {
            f"{further.name or type(further).__name__}/{key}": value for key, value in further.compute().items()
        }
    if out is not None and worker_index(strategy) == 0:
        result.save(out)
    return result


def _check_metrics(metrics: Sequence[Metric], machines: int) -> None:
    names = [metric.name or type(metric).__name__ for metric in metrics]
    taken = [name for name in names if names.count(name) > 1 or name in ("box", "mask", "keypoints", "rotated")]
    if taken:
        raise InputError(f"evaluate: the metric name {taken[0]!r} is taken; each metric needs a name of its own")
    for metric in metrics:
        if machines > 1 and not (hasattr(metric, "get_state") and hasattr(metric, "merge")):
            raise InputError(
                f"evaluate: {type(metric).__name__} needs get_state() and merge(state) on several machines"
            )


def own_part(dataset: Any, index: int, of: int) -> Any:
    """The images of a data set that machine number `index` of several evaluates, contiguous."""
    first, end = (len(dataset) * i // of for i in (index, index + 1))
    return dataset if of == 1 else dataset.subset(range(first, end))


class _OnLocalReplicas:
    """A model that deals the images of a batch to its devices here; each image is looked at by one of them."""

    def __init__(self, model: Any, strategy: tf.distribute.Strategy, number: int) -> None:
        self.model, self.strategy, self.number, self.config = model, strategy, number, model.config

    def __call__(self, batch: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Detections of the batch, in its order."""
        size, num = tf.shape(batch["image"])[0], self.number
        each = (size + num - 1) // num

        def on_replica() -> dict[str, tf.Tensor]:
            # A device without an image of its own looks at the last one again, which is dropped below.
            first = tf.distribute.get_replica_context().replica_id_in_sync_group % num * each
            rows = tf.minimum(first + tf.range(each), size - 1)
            return self.model({key: tf.gather(value, rows) for key, value in batch.items()}, training=training)

        results = self.strategy.run(on_replica)
        parts = {key: self.strategy.experimental_local_results(value) for key, value in results.items()}
        return {key: tf.concat(values, 0)[:size] for key, values in parts.items()}
