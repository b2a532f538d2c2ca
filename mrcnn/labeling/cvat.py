"""A model as an auto-annotation function of CVAT, by its SDK's interface; needs the extra `cvat`.

    cvat-cli task auto-annotate TASK --function-module mrcnn.labeling.cvat -p model=str:RUN

Labels are matched by name: those of the task that are classes of the model are filled.

Ref: CVAT's documentation, "Auto-annotation API".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.outlines import bridged, outlines, simplified
from mrcnn.errors import DependencyError
from mrcnn.inference import SCORE_THRESHOLD, detect
from mrcnn.modeling.folding import fold_batch_norm
from mrcnn.results.objects import objects
from mrcnn.structures.result_format import ImageResult
from mrcnn.weights.pretrained import load_pretrained

TOLERANCE = 1.0


def create(model: str, score: float = SCORE_THRESHOLD, tolerance: float = TOLERANCE) -> CvatFunction:
    """The function for a run's folder or any file of weights; `cvat-cli` calls this with the `-p` that it is given.

    Args:
        model: as for `mrcnn.load_pretrained`.
        score, tolerance: as for `CvatFunction`.
    """
    return CvatFunction(fold_batch_norm(load_pretrained(model)), score, tolerance)


class CvatFunction:
    """Detects in one image at a time, and returns masks or polygons as CVAT asks; boxes of a model without masks.

    Args:
        model: a `MaskRCNN`, or what `fold_batch_norm` made of one.
        score: detections scored below are left out, unless CVAT states a threshold of its own.
        tolerance: pixels by which polygons may leave the outlines of masks, to have fewer points. An object of several
            parts becomes one polygon, its parts joined by bridges of no width.

    Attributes:
        spec: the classes of the model as labels.

    Raises:
        DependencyError: cvat-sdk is not installed.
    """

    def __init__(self, model: Any, score: float = SCORE_THRESHOLD, tolerance: float = TOLERANCE) -> None:
        self._sdk = _import_sdk()
        self._model, self._score, self._tolerance = model, score, tolerance
        labels = [self._sdk.label_spec(name, number) for number, name in enumerate(model.class_names, start=1)]
        self.spec = self._sdk.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """The detections of an image as `LabeledShapeRequest`s.

        Args:
            context: of CVAT: `conf_threshold`, the lowest score or None, and `conv_mask_to_poly`, whether polygons are
                wanted in place of masks.
            image: as CVAT opened it.
        """
        threshold = getattr(context, "conf_threshold", None)
        least = self._score if threshold is None else threshold
        (instances,) = detect(self._model, image, score_threshold=least)
        as_polygons = getattr(context, "conv_mask_to_poly", False)
        shapes = []
        for i, annotation in objects(ImageResult(instances)):
            if not instances.has_masks:
                y1, x1, y2, x2 = annotation.box
                shapes.append(self._sdk.rectangle(annotation.class_id, [x1, y1, x2, y2]))
            elif as_polygons:
                loops = outlines(annotation, *instances.image_shape)
                loop = bridged(loops) if len(loops) > 1 else simplified(loops[0], self._tolerance)
                shapes.append(self._sdk.polygon(annotation.class_id, np.asarray(loop).ravel().tolist()))
            else:
                (mask,) = instances[i].iter_masks()
                shapes.append(self._sdk.mask(annotation.class_id, _encoded(mask)))
        return shapes


def _encoded(mask: np.ndarray) -> list[float]:
    from cvat_sdk.masks import encode_mask

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return list(encode_mask(mask, [float(side) for side in box]))


def _import_sdk() -> Any:
    try:
        import cvat_sdk.auto_annotation as sdk
    except ImportError as error:
        raise DependencyError(
            f"functions of CVAT need its SDK ({error}); run: pip install 'mrcnn-keras[cvat]'"
        ) from error
    return sdk
