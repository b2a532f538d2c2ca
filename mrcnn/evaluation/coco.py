"""The COCO numbers for boxes, masks and keypoints, by way of pycocotools.

AP is precision averaged over 101 recall levels, ten IoU thresholds 0.50:0.05:0.95 and all classes; AP50 and AP75 are
that at one threshold; APs, APm, APl count objects whose area is below 32², between, and above 96² square pixels.
AR1, AR10, AR100 are the recall reached with that many detections an image, averaged likewise.

Ref: Lin et al., "Microsoft COCO: Common Objects in Context", and https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.data.rasterize import encode_masks
from mrcnn.evaluation.metric import Truth
from mrcnn.evaluation.result import EvaluationResult
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord

if TYPE_CHECKING:
    from mrcnn.evaluation.coco_eval import QuickCOCOeval

KINDS = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
"""Our name of each kind of evaluation -> pycocotools' iouType. Both are accepted wherever a kind is asked for."""
MAX_DETS = (1, 10, 100)
KEYPOINT_MAX_DETS = (20,)
COCO_JOINTS = 17
_REQUIRED = {"box": "bbox", "mask": "segmentation", "keypoints": "keypoints"}
_log = logging.getLogger(__name__)


def to_coco_results(
    image_id: int | str, instances: Instances, category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Detections of one image in COCO results format.

    Args:
        image_id: the image's id in the annotation file.
        instances: with scores; boxes in original pixels.
        category_ids: the file's category id of each class, class 1 first; None = class ids are category ids.

    Returns:
        dicts with image_id, category_id, bbox [x, y, width, height] to 1e-3 pixel, score to 1e-6, and, where the
        instances have them, segmentation (compressed RLE) and keypoints [x, y, score, ...]. Empty: [].
    """
    if instances.scores is None:
        raise ValueError(f"image {image_id!r}: detections need scores, these instances have none")
    masks = encode_masks(instances) if instances.has_masks else None
    results = []
    for i, (box, class_id, score) in enumerate(
        zip(instances.boxes.tolist(), instances.class_ids.tolist(), instances.scores.tolist(), strict=True)
    ):
        y1, x1, y2, x2 = box
        result = {
            "image_id": image_id,
            "category_id": _category(class_id, category_ids, image_id),
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 6),
        }
        if masks is not None:
            result["segmentation"] = masks[i]
        if instances.keypoints is not None:
            result["keypoints"] = [round(v, 3) for v in instances.keypoints[i].ravel().tolist()]
        results.append(result)
    return results


class CocoMetric:
    """The COCO numbers over images fed one by one; masks are kept as RLE, so memory stays small.

    Args:
        class_names: name of class 1, 2, ...
        category_ids: id of each class in the annotation file, for the detections list; default 1..C.
        kinds: among "box", "mask", "keypoints"; None = what the predictions carry ("box" always).
        max_dets: cuts of detections an image and class. (1, 10, 100) are COCO's: AP and the sizes' numbers are taken
            at the last one, AR at each. Data with more objects an image wants a larger last cut, e.g. (1, 10, 300);
            such numbers are no longer COCO's own, so AR is named after its cut ("AR300").
        keypoint_sigmas: f[J], spread of each joint relative to the object's scale; default COCO's for 17 joints,
            1 / J for any other number.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        kinds: Sequence[str] | None = None,
        max_dets: Sequence[int] = MAX_DETS,
        keypoint_sigmas: Sequence[float] | None = None,
    ) -> None:
        self.class_names = tuple(class_names)
        self.category_ids = tuple(category_ids) if category_ids else tuple(range(1, len(self.class_names) + 1))
        if len(self.category_ids) != len(self.class_names):
            raise ValueError(f"{len(self.class_names)} class names but {len(self.category_ids)} category ids")
        self.kinds = None if kinds is None else tuple(_kind(k) for k in kinds)
        self.max_dets = _checked_max_dets(max_dets)
        self.keypoint_sigmas = keypoint_sigmas
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: dict[int | str, tuple[int, int]] = {}
        self._annotations: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []
        self._seen: set[str] = {"box"}
        self._result: EvaluationResult | None = None

    def update(self, image_id: int | str, ground_truth: Truth, prediction: Instances) -> None:
        """Add one image. Crowd regions are neither true nor false positives, and detections inside them are ignored.

        Args:
            image_id: must not have been seen since the last `reset`.
            ground_truth: instances, or the image's `ImageRecord` (then areas and polygons are the annotation file's).
            prediction: with scores; any order. Empty: allowed.
        """
        if image_id in self._images:
            raise ValueError(f"image {image_id!r} was given twice")
        annotations = self._gt_annotations(image_id, ground_truth, prediction.image_shape)
        detections = to_coco_results(image_id, prediction, self.category_ids)
        self._images[image_id] = prediction.image_shape
        self._annotations += annotations
        self._detections += detections
        if prediction.has_masks:
            self._seen.add("mask")
        if prediction.keypoints is not None:
            self._seen.add("keypoints")
        self._result = None

    def get_state(self) -> dict[str, Any]:
        """What the images seen so far left here: plain data, for `merge` in another process."""
        return {
            "images": dict(self._images),
            "annotations": list(self._annotations),
            "detections": list(self._detections),
            "seen": set(self._seen),
        }

    def merge(self, state: dict[str, Any]) -> None:
        """Take in the images another metric has seen.

        Args:
            state: of a `get_state`; none of its images must have been seen here.
        """
        twice = self._images.keys() & state["images"].keys()
        if twice:
            raise ValueError(f"image {min(twice, key=str)!r} was given twice")
        self._images |= state["images"]
        self._annotations += state["annotations"]
        self._detections += state["detections"]
        self._seen |= state["seen"]
        self._result = None

    def compute(self) -> dict[str, float]:
        """The numbers by name: "box/AP", "mask/AP50", "keypoints/ARm", ...; -1 where no object is concerned."""
        return self.result().numbers

    def result(self) -> EvaluationResult:
        """Numbers, per-class table, precision-recall curves and detections."""
        if self._result is None:
            self._result = self._evaluate()
        return self._result

    def _evaluate(self) -> EvaluationResult:
        ground_truth, results = self._coco_form()
        kinds = self.kinds if self.kinds is not None else [k for k in KINDS if k in self._seen]
        annotations = ground_truth["annotations"]
        per_class: dict[str, dict[str, Any]] = {}
        for name, category_id in zip(self.class_names, self.category_ids, strict=True):
            per_class[name] = {
                "category_id": category_id,
                "objects": sum(a["category_id"] == category_id and not a["iscrowd"] for a in annotations),
                "detections": sum(d["category_id"] == category_id for d in results),
            }
        numbers: dict[str, float] = {}
        curves: dict[str, dict[str, Any]] = {}
        for kind in kinds:
            evaluation = _run(ground_truth, results, kind, self._kind_max_dets(kind), self._sigmas(kind))
            numbers |= {f"{kind}/{k}": v for k, v in _summary(evaluation, kind).items()}
            columns = {int(c): k for k, c in enumerate(evaluation.params.catIds)}
            by_class = {
                name: _class_summary(evaluation, columns[row["category_id"]]) for name, row in per_class.items()
            }
            for name, (row, _) in by_class.items():
                per_class[name] |= {f"{kind}/{k}": v for k, v in row.items()}
            curves[kind] = _curves(evaluation) | {"per_class": {name: c for name, (_, c) in by_class.items()}}
        return EvaluationResult(
            numbers=numbers,
            per_class=per_class,
            curves=curves,
            detections=self._detections,
            num_images=len(self._images),
            num_objects=sum(not a["iscrowd"] for a in annotations),
            num_crowd=sum(bool(a["iscrowd"]) for a in annotations),
            max_dets=self.max_dets,
        )

    def _coco_form(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Ground truth and results with integer image ids: pycocotools sorts them, and mixed types do not sort."""
        ids = {image_id: image_id for image_id in self._images}
        if not all(isinstance(i, (int, np.integer)) for i in ids):
            ids = {image_id: n for n, image_id in enumerate(sorted(self._images, key=str), 1)}
        ground_truth = {
            "images": [{"id": ids[i], "height": h, "width": w} for i, (h, w) in self._images.items()],
            "categories": [{"id": c, "name": n} for c, n in zip(self.category_ids, self.class_names, strict=True)],
            "annotations": [{**a, "image_id": ids[a["image_id"]]} for a in self._annotations],
        }
        return ground_truth, [{**d, "image_id": ids[d["image_id"]]} for d in self._detections]

    def _kind_max_dets(self, kind: str) -> tuple[int, ...]:
        if kind == "keypoints":
            return KEYPOINT_MAX_DETS if self.max_dets == MAX_DETS else self.max_dets[-1:]
        return self.max_dets

    def _sigmas(self, kind: str) -> Sequence[float] | None:
        if kind != "keypoints" or self.keypoint_sigmas is not None:
            return self.keypoint_sigmas
        joints = next((len(a["keypoints"]) // 3 for a in self._annotations if "keypoints" in a), COCO_JOINTS)
        return None if joints == COCO_JOINTS else [1 / joints] * joints

    def _gt_annotations(
        self, image_id: int | str, ground_truth: Truth, image_shape: tuple[int, int]
    ) -> list[dict[str, Any]]:
        if isinstance(ground_truth, ImageRecord):
            shape = (ground_truth.height or image_shape[0], ground_truth.width or image_shape[1])
            if shape != image_shape:
                raise ValueError(
                    f"image {image_id!r}: its record says {shape[0]} x {shape[1]} pixels, the prediction is for"
                    f" {image_shape[0]} x {image_shape[1]}"
                )
            return [self._from_annotation(image_id, a) for a in ground_truth.annotations]
        if ground_truth.image_shape != image_shape:
            raise ValueError(
                f"image {image_id!r}: ground truth has shape {ground_truth.image_shape}, prediction {image_shape}"
            )
        crowd = ground_truth.is_crowd if ground_truth.is_crowd is not None else np.zeros(len(ground_truth), bool)
        masks = encode_masks(ground_truth) if ground_truth.has_masks else None
        annotations = []
        for i, (box, class_id) in enumerate(
            zip(ground_truth.boxes.tolist(), ground_truth.class_ids.tolist(), strict=True)
        ):
            annotation = _annotation(image_id, _category(class_id, self.category_ids, image_id), box, bool(crowd[i]))
            if masks is not None:
                annotation |= {"segmentation": masks[i], "area": float(ground_truth.masks[i].sum())}
            if ground_truth.keypoints is not None:
                annotation["keypoints"] = ground_truth.keypoints[i].ravel().tolist()
            annotations.append(annotation)
        return annotations

    def _from_annotation(self, image_id: int | str, source: Annotation) -> dict[str, Any]:
        category_id = _category(source.class_id, self.category_ids, image_id)
        annotation = _annotation(image_id, category_id, [float(v) for v in source.box], source.is_crowd)
        if source.segmentation is not None:
            segmentation = source.segmentation
            if not isinstance(segmentation, dict):
                segmentation = [np.asarray(p, float).ravel().tolist() for p in segmentation]
            annotation |= {"segmentation": segmentation, "area": None}
        if source.area is not None:
            annotation["area"] = float(source.area)
        if source.keypoints is not None:
            annotation["keypoints"] = np.asarray(source.keypoints, float).ravel().tolist()
        return annotation


def evaluate_coco_files(
    annotations: str | os.PathLike[str] | dict[str, Any],
    results: str | os.PathLike[str] | list[dict[str, Any]],
    kind: str = "box",
    *,
    max_dets: Sequence[int] | None = None,
    keypoint_sigmas: Sequence[float] | None = None,
) -> dict[str, float]:
    """The COCO numbers of a results file against an annotation file, as the official tool prints them.

    Args:
        annotations: path of an instances or keypoints JSON, or its content.
        results: path of a results JSON, or its content. Empty: allowed, all numbers are 0.
        kind: "box", "mask" or "keypoints" (or pycocotools' "bbox", "segm").
        max_dets: cuts of detections an image and class, default COCO's (1, 10, 100), for keypoints (20,).
        keypoint_sigmas: f[J], for other joints than COCO's 17.

    Returns:
        name -> number in COCO's order; twelve for boxes and masks, ten for keypoints; -1 where no object is concerned.

    Raises:
        ValueError: a file that is not what it should be, or a result naming an unknown image, without a needed
            field, or with a value that is not finite; the message names the file and the entry.
    """
    kind = _kind(kind)
    ground_truth, gt_name = _loaded(annotations, "annotations")
    found, found_name = _loaded(results, "results")
    missing = [
        k
        for k in ("images", "annotations", "categories")
        if not isinstance(ground_truth, dict) or k not in ground_truth
    ]
    if missing:
        raise ValueError(f"{gt_name}: not a COCO annotation file, it has no {', '.join(missing)}")
    if type(found) is not list:
        raise ValueError(f"{found_name}: expected a list of results, got {type(found).__name__}")
    _check_results(found, found_name, kind, ground_truth)
    default = KEYPOINT_MAX_DETS if kind == "keypoints" else MAX_DETS
    evaluation = _run(ground_truth, found, kind, _checked_max_dets(max_dets or default), keypoint_sigmas)
    return _summary(evaluation, kind)


def _check_results(results: list[dict[str, Any]], name: str, kind: str, ground_truth: dict[str, Any]) -> None:
    images = {image["id"]: [image.get("height"), image.get("width")] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    unknown = set()
    for i, result in enumerate(results):
        where = f"{name}: result {i}"
        for field in ("image_id", "category_id", "score", _REQUIRED[kind]):
            if not isinstance(result, dict) or field not in result:
                raise ValueError(f"{where} has no {field!r}")
        if result["image_id"] not in images:
            raise ValueError(f"{where} is about image {result['image_id']!r}, which the annotations do not hold")
        if not math.isfinite(result["score"]):
            raise ValueError(f"{where}: score {result['score']} is not a finite number")
        if kind == "box" and not (len(result["bbox"]) == 4 and all(map(math.isfinite, result["bbox"]))):
            raise ValueError(f"{where}: bbox {result['bbox']} is not four finite numbers")
        if kind == "mask" and isinstance(result["segmentation"], dict):
            size, expected = list(result["segmentation"]["size"]), images[result["image_id"]]
            if None not in expected and size != expected:
                raise ValueError(f"{where}: mask of {size} pixels, image {result['image_id']!r} has {expected}")
        if result["category_id"] not in categories:
            unknown.add(result["category_id"])
    if unknown:
        _log.warning("%s: results of categories the annotations do not hold are left out: %s", name, sorted(unknown))


def _run(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    kind: str,
    max_dets: Sequence[int],
    keypoint_sigmas: Sequence[float] | None,
) -> QuickCOCOeval:
    from mrcnn.evaluation.coco_eval import run

    if kind == "mask":
        ground_truth = {**ground_truth, "annotations": [_with_mask(a) for a in ground_truth["annotations"]]}
    return run(ground_truth, results, KINDS[kind], max_dets, keypoint_sigmas)


def _with_mask(annotation: dict[str, Any]) -> dict[str, Any]:
    """An annotation without a segmentation has its box as its mask."""
    if annotation.get("segmentation"):
        return annotation
    x, y, w, h = annotation["bbox"]
    return {**annotation, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]  # -1 marks a class without objects
    return float(np.mean(values)) if len(values) else -1.0


def _summary(evaluation: QuickCOCOeval, kind: str) -> dict[str, float]:
    """The numbers of `COCOeval.summarize`, for any `maxDets` and without printing."""
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T, R, C, A, M], [T, C, A, M]
    areas = evaluation.params.areaRngLbl
    thresholds = {f"{round(100 * t)}": i for i, t in enumerate(evaluation.params.iouThrs)}
    numbers = {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[thresholds["50"], :, :, 0, -1]),
        "AP75": _mean(precision[thresholds["75"], :, :, 0, -1]),
    }
    numbers |= {f"AP{label[0]}": _mean(precision[:, :, :, a, -1]) for a, label in enumerate(areas) if a}
    if kind == "keypoints":
        numbers |= {
            "AR": _mean(recall[:, :, 0, -1]),
            "AR50": _mean(recall[thresholds["50"], :, 0, -1]),
            "AR75": _mean(recall[thresholds["75"], :, 0, -1]),
        }
    else:
        numbers |= {f"AR{cut}": _mean(recall[:, :, 0, m]) for m, cut in enumerate(evaluation.params.maxDets)}
    return numbers | {f"AR{label[0]}": _mean(recall[:, :, a, -1]) for a, label in enumerate(areas) if a}


def _class_summary(evaluation: QuickCOCOeval, column: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    precision = evaluation.eval["precision"][:, :, column, 0, -1]  # [T, R]
    numbers = {
        "AP": _mean(precision),
        "AP50": _mean(precision[0]),
        "AP75": _mean(precision[5]),
        "AR": _mean(evaluation.eval["recall"][:, column, 0, -1]),
    }
    return numbers, {"0.50": precision[0], "0.75": precision[5], "0.50:0.95": precision.mean(0)}


def _curves(evaluation: QuickCOCOeval) -> dict[str, Any]:
    """Precision at each recall level, averaged over the classes that have objects."""
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [T, R, C]
    precision = precision[:, :, (precision > -1).all((0, 1))]
    mean = precision.mean(2) if precision.shape[2] else np.full(precision.shape[:2], -1.0)  # [T, R]
    return {
        "recall": np.asarray(evaluation.params.recThrs),
        "precision": {"0.50": mean[0], "0.75": mean[5], "0.50:0.95": mean.mean(0)},
    }


def _annotation(image_id: int | str, category_id: int, box: Sequence[float], is_crowd: bool) -> dict[str, Any]:
    y1, x1, y2, x2 = box
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": int(is_crowd),
    }


def _category(class_id: int, category_ids: Sequence[int] | None, image_id: int | str) -> int:
    if category_ids is None:
        return class_id
    if not 1 <= class_id <= len(category_ids):
        raise ValueError(f"image {image_id!r}: class id {class_id} is not among 1..{len(category_ids)}")
    return category_ids[class_id - 1]


def _kind(name: str) -> str:
    for kind, iou_type in KINDS.items():
        if name in (kind, iou_type):
            return kind
    raise ValueError(f"kind {name!r} is not one of {', '.join(KINDS)}")


def _checked_max_dets(max_dets: Sequence[int]) -> tuple[int, ...]:
    cuts = tuple(int(m) for m in max_dets)
    if not cuts or cuts[0] < 1 or any(a >= b for a, b in itertools.pairwise(cuts)):
        raise ValueError(f"max_dets {list(max_dets)}: expected positive whole numbers, each above the one before")
    return cuts


def _loaded(source: Any, what: str) -> tuple[Any, str]:
    if not isinstance(source, (str, os.PathLike)):
        return source, what
    try:
        with open(source, encoding="utf-8") as file:
            return json.load(file), str(source)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: cannot be read ({error})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON ({error})") from error
