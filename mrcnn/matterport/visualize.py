"""`mrcnn.visualize` of matterport: images with instances by `mrcnn.drawing`, and plots for notebooks.

Unlike the package it belongs to, this module imports matplotlib at once: scripts reach for it through this module.
"""

from __future__ import annotations

import colorsys
import itertools  # noqa: F401 - a name of this module, as `sys`
import os
import random
import sys  # noqa: F401
from collections.abc import Sequence
from typing import Any

import contourpy
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import lines, patches
from matplotlib.patches import Polygon

from mrcnn.matterport import utils
from mrcnn.matterport.names import imported
from mrcnn.matterport.plots import display_table as display_table
from mrcnn.matterport.plots import display_weight_stats as display_weight_stats
from mrcnn.matterport.plots import plot_overlaps as plot_overlaps
from mrcnn.matterport.plots import plot_precision_recall as plot_precision_recall

ROOT_DIR = os.path.abspath("../")
_IMPORTED = {"IPython": "IPython.display"}


def __getattr__(name: str) -> Any:
    return imported(__name__, _IMPORTED, name)


def find_contours(image: np.ndarray, level: float) -> list[np.ndarray]:
    """Lines f[n, 2] of (row, column) along which an image [h, w] has a value, as scikit-image's."""
    generator = contourpy.contour_generator(z=np.asarray(image, np.float64))
    return [np.fliplr(np.asarray(line)) for line in generator.lines(level)]


def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Any = None,
    interpolation: Any = None,
) -> None:
    """Images side by side in a new figure, which is shown."""
    titles = titles if titles is not None else [""] * len(images)
    rows = len(images) // cols + 1
    plt.figure(figsize=(14, max(14 * rows // cols, 1)))
    for i, (image, title) in enumerate(zip(images, titles, strict=False), start=1):
        plt.subplot(rows, cols, i)
        plt.title(title, fontsize=9)
        plt.axis("off")
        plt.imshow(image.astype(np.uint8), cmap=cmap, norm=norm, interpolation=interpolation)
    plt.show()


def random_colors(N: int, bright: bool = True) -> list[tuple[float, float, float]]:
    """N colors, as far apart as they can be, in random order; each (red, green, blue) from 0 to 1."""
    brightness = 1.0 if bright else 0.7
    colors = [colorsys.hsv_to_rgb(i / N, 1, brightness) for i in range(N)]
    random.shuffle(colors)
    return colors


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Sequence[float], alpha: float = 0.5) -> np.ndarray:
    """Blend a color, 0 to 1, into the image where the mask is 1; the image is changed, and returned."""
    for c in range(3):
        blended = image[:, :, c] * (1 - alpha) + alpha * color[c] * 255
        image[:, :, c] = np.where(mask == 1, blended, image[:, :, c])
    return image


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: Any = None,
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Any = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    colors: Any = None,
    captions: Any = None,
) -> None:
    """An image with its instances. Without `ax` a new figure is made and shown.

    Args:
        image: [h, w, 3], RGB.
        boxes: [n, 4]; rows of zeros are left out.
        masks: [h, w, n].
        class_ids: [n], indices of `class_names`, whose first is the background.
        scores: [n] or None.
        colors: n of (red, green, blue) from 0 to 1; None: random ones.
        captions: n texts in place of class and score.
    """
    num = boxes.shape[0]
    if not num:
        print("\n*** No instances to display *** \n")
    else:
        assert num == masks.shape[-1] == class_ids.shape[0]
    show = ax is None
    if show:
        _, ax = plt.subplots(1, figsize=figsize)
    colors = colors or random_colors(num)
    height, width = image.shape[:2]
    ax.set_ylim(height + 10, -10)
    ax.set_xlim(-10, width + 10)
    shown = image.astype(np.uint32).copy()
    for i in range(num):
        if not np.any(boxes[i]):
            continue
        # Boxes, outlines and captions stay on the axes as patches and texts, where scripts look for them.
        if show_bbox:
            y1, x1, y2, x2 = boxes[i]
            style: dict[str, Any] = {"linewidth": 2, "alpha": 0.7, "linestyle": "dashed", "facecolor": "none"}
            ax.add_patch(patches.Rectangle((x1, y1), x2 - x1, y2 - y1, edgecolor=colors[i], **style))
        caption = _caption(i, class_ids, class_names, scores, captions)
        ax.text(boxes[i][1], boxes[i][0] + 8, caption, color="w", size=11, backgroundcolor="none")
        if show_mask:
            shown = apply_mask(shown, masks[:, :, i], colors[i])
        padded = np.pad(np.asarray(masks[:, :, i], np.uint8), 1)  # so that outlines close at the image's sides
        for outline in find_contours(padded, 0.5):
            ax.add_patch(Polygon(np.fliplr(outline) - 1, facecolor="none", edgecolor=colors[i]))
    ax.imshow(shown.astype(np.uint8))
    ax.axis("off")
    ax.set_title(title)
    if show:
        plt.show()


def _caption(i: int, class_ids: Any, class_names: Sequence[str], scores: Any, captions: Any) -> str:
    if captions:
        return captions[i] or ""
    name = class_names[class_ids[i]]
    return f"{name} {scores[i]:.3f}" if scores is not None and scores[i] else f"{name}"


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Any = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
) -> None:
    """Ground truth in green and predictions in red, with score and overlap of each prediction."""
    gt_match, pred_match, overlaps = utils.compute_matches(
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, iou_threshold, score_threshold
    )
    scores = np.sort(np.asarray(pred_score))[::-1]
    order = np.argsort(pred_score)[::-1]
    captions = ["" for _ in gt_match] + [
        f"{scores[i]:.2f} / {overlaps[i, int(match)] if match > -1 else overlaps[i].max(initial=0):.2f}"
        for i, match in enumerate(pred_match)
    ]
    display_instances(
        image,
        np.concatenate([gt_box, pred_box[order]], axis=0),
        np.concatenate([gt_mask, pred_mask[..., order]], axis=2),
        np.concatenate([gt_class_id, pred_class_id[order]], axis=0),
        class_names,
        title=title or "Ground Truth and Detections\n GT=green, pred=red, captions: score/IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[(0, 1, 0, 0.8)] * len(gt_match) + [(1, 0, 0, 1)] * len(pred_match),
        captions=captions,
    )


def draw_box(image: np.ndarray, box: Sequence[int], color: Any) -> np.ndarray:
    """A box two pixels thick drawn into the image, which is returned."""
    y1, x1, y2, x2 = box
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def draw_boxes(
    image: np.ndarray,
    boxes: Any = None,
    refined_boxes: Any = None,
    masks: Any = None,
    captions: Any = None,
    visibilities: Any = None,
    title: str = "",
    ax: Any = None,
) -> None:
    """Boxes before (dashed) and after refinement on an image, as the inspecting notebooks show them.

    Args:
        image: [h, w, 3].
        boxes, refined_boxes: [n, 4] or None.
        masks: [h, w, n] or None.
        captions: n texts or None.
        visibilities: n of 0 (gray and thin), 1 (full) or 2 (bright and dotted).
        ax: axes to draw into; None: new ones.
    """
    assert boxes is not None or refined_boxes is not None
    num = len(boxes) if boxes is not None else len(refined_boxes)
    if ax is None:
        _, ax = plt.subplots(1, figsize=(12, 12))
    colors = random_colors(num)
    shown = image.astype(np.uint8).copy()
    for i in range(num):
        if masks is not None:
            shown = apply_mask(shown, np.asarray(masks)[:, :, i], colors[i])
    ax.set_ylim(image.shape[0] + 50, -50)
    ax.set_xlim(-50, image.shape[1] + 50)
    ax.axis("off")
    ax.set_title(title)
    for i in range(num):
        visibility = 1 if visibilities is None else visibilities[i]
        color: Any = colors[i] if int(visibility) else "gray"
        style, alpha = {0: ("dotted", 0.5), 1: ("dotted", 1.0), 2: ("solid", 1.0)}[int(visibility)]
        first: Any = None
        second: Any = None
        if boxes is not None and np.any(boxes[i]):
            first = boxes[i]
            _rectangle(ax, first, color, alpha, "dashed" if refined_boxes is not None else style)
        if refined_boxes is not None and visibility > 0:
            second = np.asarray(refined_boxes[i]).astype(np.int32)
            _rectangle(ax, second, color, 1, "solid")
            if first is not None:
                ax.add_line(lines.Line2D([first[1], second[1]], [first[0], second[0]], color=color))
        if captions is not None and (second is not None or first is not None):
            y1, x1 = (second if second is not None else first)[:2]
            box = {"facecolor": "none", "alpha": 0.5, "pad": 2, "edgecolor": "none"}
            ax.text(
                x1, y1, captions[i] or "", size=11, verticalalignment="top", color="w", backgroundcolor="none", bbox=box
            )
    ax.imshow(shown)


def _rectangle(ax: Any, box: Any, color: Any, alpha: float, style: str) -> None:
    y1, x1, y2, x2 = (float(side) for side in box)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    ax.add_patch(Polygon(corners, facecolor="none", edgecolor=color, alpha=alpha, linestyle=style, linewidth=2))


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
) -> None:
    """Some RoIs, before and after refinement, with their masks; prints how many are positive."""
    chosen = np.random.permutation(rois.shape[0])[:limit]  # noqa: NPY002 - scripts seed it
    classed = [int(class_ids[i]) for i in chosen]
    unmolded = [utils.unmold_mask(mask[i], rois[i], image.shape) for i in chosen]
    draw_boxes(
        image,
        boxes=rois[chosen],
        refined_boxes=refined_rois[chosen],
        masks=np.stack(unmolded, axis=-1) if unmolded else None,
        captions=[class_names[class_id] if class_id else "" for class_id in classed],
        visibilities=[1 if class_id else 0 for class_id in classed],
        title=f"{len(chosen)} RoIs of {rois.shape[0]}",
    )
    positive = int(np.sum(np.asarray(class_ids) > 0))
    print("Positive ROIs: ", positive)
    print("Negative ROIs: ", len(class_ids) - positive)
    print(f"Positive Ratio: {positive / max(len(class_ids), 1):.2f}")


def display_top_masks(
    image: np.ndarray, mask: np.ndarray, class_ids: np.ndarray, class_names: Sequence[str], limit: int = 4
) -> None:
    """An image beside the masks of the classes that cover most of it."""
    class_ids = np.asarray(class_ids)
    areas = {int(i): int(np.sum(mask[:, :, class_ids == i])) for i in np.unique(class_ids)}
    largest = [i for i, area in sorted(areas.items(), key=lambda item: -item[1]) if area > 0]
    images, titles = [image], [f"H x W={image.shape[0]}x{image.shape[1]}"]
    for i in range(limit):
        class_id = largest[i] if i < len(largest) else -1
        own = mask[:, :, class_ids == class_id]
        images.append(np.sum(own * np.arange(1, own.shape[-1] + 1), -1))
        titles.append(class_names[class_id] if class_id != -1 else "-")
    display_images(images, titles=titles, cols=limit + 1, cmap="Blues_r")
