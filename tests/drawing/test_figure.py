from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from mrcnn.drawing import draw, draw_array
from tests.drawing.test_image import gray, scene


def test_figure_is_the_array_dot_for_dot():
    figure = draw(gray(), scene(), class_names=["a", "b"])
    png, on_page = figure._repr_png_()
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    height, width = gray().shape[:2]
    side = min(1600, 16 * max(height, width))
    assert np.array_equal(shown, draw_array(gray(), scene(), class_names=["a", "b"], long_side=side))
    assert on_page == {"width": shown.shape[1] // 2, "height": shown.shape[0] // 2}
    assert np.array_equal(draw(gray(), scene(), as_array=True), draw_array(gray(), scene()))


def test_axes_are_in_pixels_of_the_image():
    (axis,) = draw(gray(), scene()).axes
    assert axis.get_xlim() == (0, 80)
    assert axis.get_ylim() == (60, 0)


def test_ground_truth_gets_its_own_titled_axes():
    left, right = draw(gray(), scene(), ground_truth=scene(scores=None)).axes
    assert left.get_title("left") == "ground truth: 3"
    assert right.get_title("left") == "detections: 3"
    (few,) = (a for a in draw(gray(), scene(), ground_truth=scene(), max_instances=1).axes[1:])
    assert few.get_title("left") == "detections: 1 of 3"


def test_large_images_are_reduced_in_figures_only():
    image = np.zeros((1500, 3200, 3), np.uint8)
    figure = draw(image, scene(1500, 3200))
    assert tuple(figure.get_size_inches() * figure.dpi) == (1600, 750)
    assert draw(image, scene(1500, 3200), as_array=True).shape == image.shape


def test_given_axes_are_used():
    from matplotlib.figure import Figure

    figure = Figure()
    axis = figure.add_subplot()
    assert draw(gray(), scene(), ax=axis) is figure
    assert len(axis.images) == 1
    with pytest.raises(ValueError, match="2 axes are needed, 1 were given"):
        draw(gray(), scene(), ground_truth=scene(), ax=axis)


def test_pyplot_stays_out_of_it():
    before = "matplotlib.pyplot" in sys.modules
    draw(gray(), scene())._repr_png_()
    assert ("matplotlib.pyplot" in sys.modules) == before
