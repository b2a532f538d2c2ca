"""The drawing as a matplotlib figure, without pyplot: nothing global is opened and nothing has to be closed."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from mrcnn.data.images import as_rgb
from mrcnn.drawing.colors import Colors
from mrcnn.drawing.image import MAX_ENLARGE, ImageLike, draw_array, draw_panels
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DENSITY = 2
"""Dots of a figure to a pixel of a page, so that it is crisp on screens that have as many."""
DPI = 100 * DENSITY
FIGURE_SIDE = 1600
"""Longer side of a drawing inside a figure, dots; other images are enlarged or reduced to it, tiny ones to less."""
_TITLE = 0.32  # inches


@overload
def draw(
    image: ImageLike,
    instances: Instances,
    *,
    class_names: Sequence[str] | None = None,
    ground_truth: Instances | None = None,
    scores: bool = True,
    masks: bool = True,
    boxes: bool = True,
    labels: bool = True,
    keypoints: bool = True,
    colors: Colors = "auto",
    max_instances: int | None = None,
    as_array: Literal[False] = False,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure: ...


@overload
def draw(
    image: ImageLike,
    instances: Instances,
    *,
    class_names: Sequence[str] | None = None,
    ground_truth: Instances | None = None,
    scores: bool = True,
    masks: bool = True,
    boxes: bool = True,
    labels: bool = True,
    keypoints: bool = True,
    colors: Colors = "auto",
    max_instances: int | None = None,
    as_array: Literal[True],
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray: ...


@overload
def draw(
    image: ImageLike,
    instances: Instances,
    *,
    class_names: Sequence[str] | None = None,
    ground_truth: Instances | None = None,
    scores: bool = True,
    masks: bool = True,
    boxes: bool = True,
    labels: bool = True,
    keypoints: bool = True,
    colors: Colors = "auto",
    max_instances: int | None = None,
    as_array: bool,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | np.ndarray: ...


def draw(
    image: ImageLike,
    instances: Instances,
    *,
    class_names: Sequence[str] | None = None,
    ground_truth: Instances | None = None,
    scores: bool = True,
    masks: bool = True,
    boxes: bool = True,
    labels: bool = True,
    keypoints: bool = True,
    colors: Colors = "auto",
    max_instances: int | None = None,
    as_array: bool = False,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | np.ndarray:
    """Instances drawn on their image: a figure that Jupyter shows, or an array.

    Args:
        image: an array u8[h, w], u8[h, w, 3] or u8[h, w, 4], RGB; a PIL image of any mode, a tensor or a path.
        instances: true or predicted, in pixels of the image.
        class_names: name of class 1, 2, ... (`model.class_names`, `dataset.class_names`).
        ground_truth: drawn on the left, beside the instances.
        scores, masks, boxes, labels, keypoints: what to draw, where the instances have it.
        colors: "auto", "class", "instance" or a mapping of class id to RGB; see `drawing.colors.assign`.
        max_instances: draw only so many, the best scores first.
        as_array: return u8[H, W, 3] in place of a figure (matplotlib is then not needed).
        ax: matplotlib axes to draw into (two of them with `ground_truth`); their figure is returned.

    Returns:
        a figure whose axes are in pixels of the image, half as large on a page as it has dots; or the array.

    Raises:
        InputError: instances of an image of another size, or another number of axes than drawings.
        DataError: not an image.

    Example:
        >>> nothing = Instances.empty((64, 96))
        >>> len(draw(np.zeros((64, 96), np.uint8), nothing).axes)
        1
    """
    options: dict[str, Any] = {
        "class_names": class_names,
        "ground_truth": ground_truth,
        "scores": scores,
        "masks": masks,
        "boxes": boxes,
        "labels": labels,
        "keypoints": keypoints,
        "colors": colors,
        "max_instances": max_instances,
    }
    if as_array:
        return draw_array(image, instances, **options)
    image = as_rgb(image)
    height, width = image.shape[:2]
    long_side = min(FIGURE_SIDE, round(MAX_ENLARGE * DENSITY * max(height, width)))
    panels = draw_panels(image, instances, long_side=long_side, **options)
    titled = len(panels) > 1
    if ax is None:
        axes = _new_axes([drawing.shape[:2] for _, drawing in panels], titled)
    else:
        axes = list(np.ravel(np.asarray(ax, object)))
        if len(axes) != len(panels):
            raise InputError(f"{len(panels)} axes are needed, {len(axes)} were given")
    for axis, (title, drawing) in zip(axes, panels, strict=True):
        axis.imshow(drawing, extent=(0, width, height, 0), interpolation="antialiased")
        axis.set_axis_off()
        if titled:
            axis.set_title(title, loc="left", fontsize=13)
    figure = axes[0].get_figure(root=True)
    assert figure is not None  # axes that were removed from theirs cannot be drawn into
    return figure


def _new_axes(shapes: list[tuple[int, int]], titled: bool) -> list[Axes]:
    """Axes side by side in a new figure, each exactly as large as its drawing."""
    top, gap = (_TITLE, 0.12) if titled else (0.0, 0.0)
    total_width = sum(w for _, w in shapes) / DPI + gap * (len(shapes) - 1)
    total_height = shapes[0][0] / DPI + top
    figure = _figure_class()(figsize=(total_width, total_height), dpi=DPI)
    axes, left = [], 0.0
    for h, w in shapes:
        axes.append(figure.add_axes((left / total_width, 0, w / DPI / total_width, h / DPI / total_height)))
        left += w / DPI + gap
    return axes


@functools.cache
def _figure_class() -> type[Figure]:
    """Figure with its Agg canvas and its own notebook display, made on first use so that importing stays light."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Drawing(Figure):
        """A figure Jupyter shows once, as the value of a cell, whether or not pyplot was imported."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            FigureCanvasAgg(self)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            """The PNG, and its size on a page."""
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=self.dpi)
            width, height = (round(side * self.dpi / DENSITY) for side in self.get_size_inches())
            return buffer.getvalue(), {"width": width, "height": height}

    return Drawing
