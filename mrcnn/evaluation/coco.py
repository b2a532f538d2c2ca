"""The COCO numbers for boxes, masks and keypoints, by way of pycocotools.

AP is precision averaged over 101 recall levels, ten IoU thresholds 0.50:0.05:0.95 and all classes; AP50 and AP75 are
that at one threshold; APs, APm, APl count objects whose area is below 32², between, and above 96² square pixels.
AR1, AR10, AR100 are the recall reached with that many detections an image, averaged likewise.

Ref: Lin et al., "Microsoft COCO: Common Objects in Context", and https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mrcnn.data.rasterize import polygons_to_rle
from mrcnn.data.rle import window_to_rle
from mrcnn.errors import InputError
from mrcnn.evaluation.class_names import distinct_labels
from mrcnn.evaluation.coco_results import check_class, to_coco_results
from mrcnn.evaluation.metric import GroundTruth, Metric
from mrcnn.evaluation.result import EvaluationResult
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord

ROTATED = "rotated"
KINDS = {"box": "bbox", "mask": "segm", "keypoints": "keypoints", "boundary": "boundary", ROTATED: ROTATED}
"""Our name of each kind of evaluation -> pycocotools' iouType. Both are accepted wherever a kind is asked for.

pycocotools has no boundaries and no rotated boxes, which are as "mask" and "box" with another overlap."""
MAX_DETS = (1, 10, 100)
KEYPOINT_MAX_DETS = (20,)
COCO_JOINTS = 17


class CocoMetric(Metric):
    """The COCO numbers over images fed one by one; masks are kept as RLE, so memory stays small.

    Args:
        class_names: name of class 1, 2, ...; rows of classes that share a name show the id too.
        category_ids: id of each class in the annotation file, for the detections list; default 1..C.
        kinds: among "box", "mask", "keypoints", "boundary" (boundary AP, see `evaluation.boundary`) and "rotated" (the
            overlap of rotated boxes; true ones are those of least area around the masks, unless the ground truth states
            them); None = what the predictions carry, without "boundary" ("box" always).
        max_dets: cuts of detections an image and class. (1, 10, 100) are COCO's: AP and the sizes' numbers are taken
            at the last one, AR at each. Data with more objects an image wants a larger last cut, e.g. (1, 10, 300);
            such numbers are no longer COCO's own, so AR is named after its cut ("AR300").
        keypoint_sigmas: f[J], spread of each joint relative to the object's scale; default COCO's for 17 joints,
            1 / J for any other number.

    Raises:
        InputError: numbers of names and ids that differ, an unknown kind, or cuts that do not ascend.

    Example:
        >>> metric = CocoMetric(["cell"])
        >>> cells = Instances([[0, 0, 40, 40]], [1], (50, 50), scores=[0.9])
        >>> metric.update(1, cells, cells)
        >>> round(metric.compute()["box/AP"], 6)
        1.0
    """

    name: ClassVar[str] = "coco"

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
            raise InputError(f"{len(self.class_names)} class names but {len(self.category_ids)} category ids")
        self.kinds = None if kinds is None else tuple(find_kind(k) for k in kinds)
        self.max_dets = check_max_dets(max_dets)
        self.keypoint_sigmas = keypoint_sigmas
        self._images: dict[int | str, tuple[int, int]] = {}
        self._annotations: list[dict[str, Any]] = []  # category_id is the class id
        self._detections: list[dict[str, Any]] = []  # category_id is the category's
        self._detected_classes: list[int] = []  # of each detection
        self._seen: set[str] = {"box"}
        self._result: EvaluationResult | None = None

    def reset(self) -> None:
        """Forget all images."""
        self._images, self._annotations, self._detections, self._detected_classes = {}, [], [], []
        self._seen, self._result = {"box"}, None

    def update(self, image_id: int | str, ground_truth: GroundTruth, prediction: Instances) -> None:
        """Add one image. Crowd regions are neither true nor false positives, and detections inside them are ignored.

        Args:
            image_id: must not have been seen since the last `reset`.
            ground_truth: instances, or the image's `ImageRecord` (then areas and polygons are the annotation file's).
            prediction: with scores; any order. Empty: allowed.

        Raises:
            InputError: the id has been seen, the shapes differ, or a class id is beyond the classes.
            DataError: a polygon or RLE of the record that cannot be rasterized.
        """
        if image_id in self._images:
            raise InputError(f"image {image_id!r} was given twice")
        annotations = self._gt_annotations(image_id, ground_truth, prediction.image_shape)
        detections = to_coco_results(image_id, prediction, self.category_ids)
        self._images[image_id] = prediction.image_shape
        self._annotations += annotations
        self._detections += detections
        self._detected_classes += prediction.class_ids.tolist()
        if prediction.has_masks:
            self._seen.add("mask")
        if prediction.keypoints is not None:
            self._seen.add("keypoints")
        if prediction.rotated_boxes is not None:
            self._seen.add(ROTATED)
        self._result = None

    def get_state(self) -> dict[str, Any]:
        """What the images seen so far left here: plain data, for `merge` in another process."""
        return {
            "images": dict(self._images),
            "annotations": list(self._annotations),
            "detections": list(self._detections),
            "detected_classes": list(self._detected_classes),
            "seen": set(self._seen),
        }

    def merge(self, state: dict[str, Any]) -> None:
        """Take in the images another metric has seen.

        Args:
            state: of a `get_state`; none of its images must have been seen here.
        """
        twice = self._images.keys() & state["images"].keys()
        if twice:
            raise InputError(f"image {min(twice, key=str)!r} was given twice")
        self._images |= state["images"]
        self._annotations += state["annotations"]
        self._detections += state["detections"]
        self._detected_classes += state["detected_classes"]
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
        from mrcnn.evaluation import coco_eval  # imports pycocotools

        ground_truth, results = self._coco_form()
        kinds = self.kinds if self.kinds is not None else [k for k in KINDS if k in self._seen]
        labels = distinct_labels(self.class_names, self.category_ids)
        places = self._class_places()
        per_class: dict[str, dict[str, Any]] = {}
        for class_id, (label, category_id) in enumerate(zip(labels, self.category_ids, strict=True), start=1):
            per_class[label] = {
                "category_id": category_id,
                "objects": sum(a["category_id"] == class_id and not a["iscrowd"] for a in self._annotations),
                "detections": self._detected_classes.count(class_id),
            }
        numbers: dict[str, float] = {}
        curves: dict[str, dict[str, Any]] = {}
        for kind in kinds:
            evaluation = coco_eval.run(
                ground_truth, results, KINDS[kind], self._kind_max_dets(kind), self._sigmas(kind)
            )
            numbers |= {f"{kind}/{k}": v for k, v in coco_eval.summary(evaluation, kind).items()}
            by_class = {
                label: coco_eval.class_summary(evaluation, place - 1)
                for label, place in zip(labels, places, strict=True)
            }
            for label, (row, _) in by_class.items():
                per_class[label] |= {f"{kind}/{k}": v for k, v in row.items()}
            curves[kind] = coco_eval.curves(evaluation) | {"per_class": {name: c for name, (_, c) in by_class.items()}}
        return EvaluationResult(
            numbers=numbers,
            per_class=per_class,
            curves=curves,
            detections=self._detections,
            num_images=len(self._images),
            num_objects=sum(not a["iscrowd"] for a in self._annotations),
            num_crowd=sum(bool(a["iscrowd"]) for a in self._annotations),
            max_dets=self.max_dets,
        )

    def _class_places(self) -> list[int]:
        """The place, from 1, of each class among all in the order of their category ids, which pycocotools sorts by."""
        order = sorted(range(len(self.category_ids)), key=lambda k: (self.category_ids[k], k))
        return [order.index(k) + 1 for k in range(len(order))]

    def _coco_form(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Ground truth and results with ids that pycocotools can sort and hold: of images and classes, their places."""
        ids, places = number_ids(self._images), self._class_places()
        ground_truth = {
            "images": [{"id": ids[i], "height": h, "width": w} for i, (h, w) in self._images.items()],
            "categories": [{"id": place} for place in places],
            "annotations": [
                {**a, "image_id": ids[a["image_id"]], "category_id": places[a["category_id"] - 1]}
                for a in self._annotations
            ],
        }
        results = [
            {**d, "image_id": ids[d["image_id"]], "category_id": places[class_id - 1]}
            for d, class_id in zip(self._detections, self._detected_classes, strict=True)
        ]
        return ground_truth, results

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
        self, image_id: int | str, ground_truth: GroundTruth, image_shape: tuple[int, int]
    ) -> list[dict[str, Any]]:
        if isinstance(ground_truth, ImageRecord):
            shape = (ground_truth.height or image_shape[0], ground_truth.width or image_shape[1])
            if shape != image_shape:
                raise InputError(
                    f"image {image_id!r}: its record says {shape[0]} x {shape[1]} pixels, the prediction is for"
                    f" {image_shape[0]} x {image_shape[1]}"
                )
            return [self._from_annotation(image_id, a, image_shape) for a in ground_truth.annotations]
        if ground_truth.image_shape != image_shape:
            raise InputError(
                f"image {image_id!r}: ground truth has shape {ground_truth.image_shape}, prediction {image_shape}"
            )
        crowd = ground_truth.is_crowd if ground_truth.is_crowd is not None else np.zeros(len(ground_truth), bool)
        windows = list(ground_truth.mask_windows())
        annotations = []
        for i, (box, class_id) in enumerate(
            zip(ground_truth.boxes.tolist(), ground_truth.class_ids.tolist(), strict=True)
        ):
            check_class(class_id, self.category_ids, image_id)
            annotation = _coco_annotation(image_id, class_id, box, bool(crowd[i]))
            if windows:
                rle = window_to_rle(*windows[i], *image_shape)
                annotation |= {"segmentation": rle, "area": float(windows[i][2].sum())}
            if ground_truth.rotated_boxes is not None:
                center_y, center_x, height, width, angle = ground_truth.rotated_boxes[i].tolist()
                annotation["rotated_bbox"] = [center_x, center_y, width, height, angle]
            if ground_truth.keypoints is not None:
                annotation["keypoints"] = ground_truth.keypoints[i].ravel().tolist()
            annotations.append(annotation)
        return annotations

    def _from_annotation(self, image_id: int | str, source: Annotation, image_shape: tuple[int, int]) -> dict[str, Any]:
        check_class(source.class_id, self.category_ids, image_id)
        annotation = _coco_annotation(image_id, source.class_id, [float(v) for v in source.box], source.is_crowd)
        if source.segmentation is not None:
            segmentation = source.segmentation
            if not isinstance(segmentation, dict):
                segmentation = polygons_to_rle(segmentation, *image_shape)
            annotation |= {"segmentation": segmentation, "area": None}
        if source.area is not None:
            annotation["area"] = float(source.area)
        if source.keypoints is not None:
            annotation["keypoints"] = np.asarray(source.keypoints, float).ravel().tolist()
        return annotation


def _coco_annotation(image_id: int | str, class_id: int, box: Sequence[float], is_crowd: bool) -> dict[str, Any]:
    y1, x1, y2, x2 = box
    return {
        "image_id": image_id,
        "category_id": class_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": int(is_crowd),
    }


def number_ids(ids: Any) -> dict[Any, int]:
    """Id -> its place, from 1, in their order; ids of mixed types are ordered as text.

    pycocotools sorts ids, and holds them in 64 bits.
    """
    ids = list(ids)
    numeric = all(isinstance(i, (int, np.integer)) for i in ids)
    return {image_id: place for place, image_id in enumerate(sorted(ids, key=None if numeric else str), start=1)}


def find_kind(name: str) -> str:
    """Our name of a kind of evaluation, of ours or of pycocotools'.

    Raises:
        InputError: it is neither.
    """
    for kind, iou_type in KINDS.items():
        if name in (kind, iou_type):
            return kind
    raise InputError(f"kind {name!r} is not one of {', '.join(KINDS)}")


def check_max_dets(max_dets: Sequence[int]) -> tuple[int, ...]:
    """The cuts as a tuple.

    Raises:
        InputError: they are not positive and ascending.
    """
    cuts = tuple(int(m) for m in max_dets)
    if not cuts or cuts[0] < 1 or any(a >= b for a, b in itertools.pairwise(cuts)):
        raise InputError(f"max_dets {list(max_dets)}: expected positive whole numbers, each above the one before")
    return cuts
