"""What a model detects in the image of a task, as the predictions of Label Studio's label config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrcnn.data.formats.label_studio_writer import label_studio_entry, label_studio_joint, label_studio_shape
from mrcnn.labeling.label_config import LabelConfig
from mrcnn.results.objects import objects, score_of
from mrcnn.structures.instances import Instances
from mrcnn.structures.result_format import ImageResult


def task_prediction(
    instances: Instances,
    class_names: Sequence[str],
    config: LabelConfig,
    model_version: str,
    tolerance: float = 0.0,
) -> dict[str, Any]:
    """One prediction: the detections of labeled classes as regions of the tags that the project has.

    Keypoints are written where KeyPointLabels has as many labels as the model has joints, in their order.

    Args:
        instances: of the image.
        class_names: of the model.
        config: of the project.
        model_version: by which Label Studio tells predictions apart.
        tolerance: pixels by which polygons may leave the outlines, to have fewer points.

    Returns:
        "model_version", "result" and, of detections, "score", their mean, which tasks can be sorted by.
    """
    result = ImageResult(instances, class_names=class_names)
    height, width = instances.image_shape
    regions: list[dict[str, Any]] = []
    scores = []
    for i, annotation in objects(result):
        labels = config.labels.get(result.class_name(annotation.class_id), {})
        shape = label_studio_shape(annotation, height, width, labels, tolerance)
        if shape is None:
            continue
        kind, value = shape
        score, region_id = score_of(result, i), f"r{i + 1}"
        rest = {} if score is None else {"score": score}
        value = {**value, f"{kind}labels": [labels[kind]]}
        name = config.controls[kind].name
        regions.append(label_studio_entry(kind, value, height, width, region_id, name, config.image) | rest)
        regions += [entry | rest for entry in _joints(instances, i, config, region_id)]
        scores += [] if score is None else [score]
    prediction: dict[str, Any] = {"model_version": model_version, "result": regions}
    return prediction | ({"score": round(sum(scores) / len(scores), 6)} if scores else {})


def _joints(instances: Instances, i: int, config: LabelConfig, region_id: str) -> list[dict[str, Any]]:
    control = config.controls.get("keypoint")
    if control is None or instances.keypoints is None or len(control.labels) != instances.keypoints.shape[1]:
        return []
    shape = instances.image_shape
    return [
        label_studio_joint(label, x, y, *shape, f"{region_id}_{k}", control.name, config.image)
        | {"parentID": region_id}
        for k, ((label, _), (x, y, visible)) in enumerate(
            zip(control.labels, instances.keypoints[i].tolist(), strict=True)
        )
        if visible > 0
    ]
