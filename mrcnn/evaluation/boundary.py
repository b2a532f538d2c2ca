"""The part of a mask that lies along its outline, and how much of it two masks share.

Mask IoU hardly sees errors at the outline of large objects. Boundary IoU is that of the pixels within a distance d of
either outline, inside the masks; d is a share of the image's diagonal. Boundary AP is COCO's AP with the lower of mask
IoU and boundary IoU in place of mask IoU: `CocoMetric(..., kinds=["boundary"])`.

Ref: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021, sections 4 and 5.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from mrcnn.data.rasterize import annotation_window
from mrcnn.data.rle import window_to_rle
from mrcnn.evaluation.overlap import mask_iou
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import WindowMasks
from mrcnn.structures.records import RLE, Annotation

DILATION = 0.02
"""Of the image's diagonal: the paper's, for COCO."""


def boundary_distance(image_shape: tuple[int, int], dilation: float = DILATION) -> int:
    """d in whole pixels, at least 1.

    Example:
        >>> boundary_distance((480, 640))
        16
    """
    return max(1, round(dilation * float(np.hypot(*image_shape))))


def mask_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask from which a pixel outside it, or outside the image, is at most `distance` away.

    Args:
        mask: bool[h, w], whole or the window outside which it is empty.
        distance: d in pixels, of a square neighborhood: diagonal steps count one.

    Returns:
        bool[h, w].

    Example:
        >>> mask_boundary(np.ones((5, 5), bool), 2).astype(int)[2].tolist()
        [1, 1, 0, 1, 1]
    """
    if not mask.size:
        return mask
    padded = np.pad(mask.astype(np.uint8), 1)  # what lies beyond the frame is no object
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    eroded = cv2.erode(padded, kernel)[1:-1, 1:-1]
    return mask & (eroded == 0)


def boundary_rle(rle: RLE, dilation: float = DILATION) -> RLE:
    """The boundary of a mask as compressed RLE.

        Args:
            rle: of the whole image.
            dilation: d as a share of the image's diagonal.

        Example:
            >>> from mrcnn.data.rasterize import annotation_window
    from mrcnn.data.rle import mask_to_rle
            >>> boundary_rle(mask_to_rle(np.ones((3, 2), bool)))
            {'size': [3, 2], 'counts': '06'}
    """
    height, width = rle["size"]
    top, left, bits = annotation_window(Annotation(1, (0, 0, 0, 0), rle), height, width)
    boundary = mask_boundary(bits.astype(bool), boundary_distance((height, width), dilation))
    return window_to_rle(top, left, boundary, height, width)


def boundary_iou(a: Instances, b: Instances, dilation: float = DILATION) -> np.ndarray:
    """f64[n, m], the lower of mask IoU and boundary IoU of two sets of instances of one image, pair by pair.

    Raises:
        InputError: instances without masks, or of images of different shapes.

    Example:
        >>> masks = np.zeros((2, 60, 80), bool)
        >>> masks[0, 10:50, 10:70], masks[1, 12:50, 10:70] = True, True
        >>> square = Instances([[10, 10, 50, 70], [12, 10, 50, 70]], [1, 1], (60, 80), masks=masks)
        >>> boundary_iou(square[:1], square[1:]).round(2).tolist(), mask_iou(square[:1], square[1:]).round(2).tolist()
        ([[0.53]], [[0.95]])
    """
    of_masks = mask_iou(a, b)
    distance = boundary_distance(a.image_shape, dilation)
    sides = [dataclasses.replace(side, masks=_boundaries(side, distance)) for side in (a, b)]
    return np.minimum(of_masks, mask_iou(*sides))


def _boundaries(instances: Instances, distance: int) -> WindowMasks:
    windows = tuple((top, left, mask_boundary(bits, distance)) for top, left, bits in instances.mask_windows())
    return WindowMasks(windows, *instances.image_shape)
