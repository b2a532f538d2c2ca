from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.drawing import draw_array, save_image
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import WindowMasks


def scene(height=60, width=80, scores=(0.9, 0.6, 0.3), classes=(1, 2, 1)):
    boxes = np.array([[5, 5, 25, 30], [20, 40, 50, 70], [30, 5, 55, 30]], np.float32)[: len(scores or classes)]
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    return Instances(boxes, classes[: len(boxes)], (height, width), scores and np.array(scores), masks)


def gray(height=60, width=80):
    return np.full((height, width, 3), 100, np.uint8)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_every_kind_of_image(channels):
    image = np.full((60, 80) if channels is None else (60, 80, channels), 100, np.uint8)
    drawing = draw_array(image, scene(), class_names=["a", "b"])
    assert drawing.dtype == np.uint8
    assert drawing.shape == (480, 640, 3)


def test_a_path_is_read(tmp_path):
    path = save_image(tmp_path / "a.png", gray())
    assert np.array_equal(draw_array(path, scene()), draw_array(gray(), scene()))
    assert np.array_equal(draw_array(str(path), scene()), draw_array(gray(), scene()))


def test_size_of_the_drawing():
    assert draw_array(np.zeros((600, 800, 3), np.uint8), Instances.empty((600, 800))).shape == (768, 1024, 3)
    assert draw_array(np.zeros((30, 2000, 3), np.uint8), Instances.empty((30, 2000))).shape == (30, 2000, 3)
    assert draw_array(gray(), scene(), long_side=40).shape == (30, 40, 3)
    assert draw_array(np.zeros((1, 1, 3), np.uint8), Instances.empty((1, 1))).shape == (8, 8, 3)


def test_without_instances_the_image_alone_is_left():
    image = np.random.default_rng(0).integers(0, 255, (1100, 1200, 3), np.uint8)
    assert np.array_equal(draw_array(image, Instances.empty((1100, 1200))), image)


def test_the_callers_image_is_left_alone():
    image = np.full((1100, 1200, 3), 100, np.uint8)
    draw_array(image, scene(1100, 1200))
    assert (image == 100).all()


def test_masks_fall_on_their_pixels():
    drawing = draw_array(gray(), scene(), boxes=False, labels=False, colors={1: (255, 0, 0), 2: (0, 255, 0)})
    changed = (drawing != 100).any(2)
    expected = np.kron(scene().masks.any(0), np.ones((8, 8), bool))
    assert (changed != expected).mean() < 0.03  # but for the width of the outline
    assert drawing[100, 100, 0] > 140
    assert drawing[100, 100, 1] < 100
    assert drawing[300, 450, 1] > 140
    assert drawing[300, 450, 0] < 100


def test_nothing_is_drawn_of_what_is_switched_off():
    bare = draw_array(gray(), scene(), masks=False, boxes=False, labels=False)
    assert (bare == 100).all()
    assert not np.array_equal(draw_array(gray(), scene()), draw_array(gray(), scene(), labels=False))
    assert not np.array_equal(draw_array(gray(), scene(), scores=False), draw_array(gray(), scene()))


def test_max_instances_takes_the_best():
    best = scene()[np.array([1, 0, 0], bool)]
    few = draw_array(gray(), scene(), max_instances=1, colors="class", class_names=["a", "b"])
    assert np.array_equal(few, draw_array(gray(), best, colors="class", class_names=["a", "b"]))


def test_ground_truth_beside_prediction():
    drawing = draw_array(gray(), scene(), ground_truth=scene(scores=None))
    assert drawing.shape[1] == 2 * 640 + 12
    assert drawing.shape[0] > 480
    # The same objects: the same colors on both sides, whatever the order
    left, right = drawing[-480:, :640], drawing[-480:, 652:]
    assert np.array_equal(left[300, 450], right[300, 450])


def test_odd_instances_are_drawn_without_complaint():
    boxes = np.array([[0, 0, 0, 0], [-50, -50, 500, 500], [10, 10, 10.2, 10.2], [np.nan] * 4, [70, 90, 95, 99]])
    masks = np.zeros((5, 60, 80), bool)
    masks[2, 10, 10] = True
    odd = Instances(boxes, [1, 2, 9, 1, 1], (60, 80), np.linspace(0, 1, 5), masks, is_crowd=[0, 1, 0, 0, 0])
    assert draw_array(gray(), odd, class_names=["a", "b"]).shape == (480, 640, 3)
    assert draw_array(gray(), odd[:0]).shape == (480, 640, 3)


def test_keypoints():
    joints = np.concatenate([np.random.default_rng(0).uniform(10, 50, (1, 17, 2)), np.ones((1, 17, 1))], 2)
    person = Instances([[5, 5, 55, 55]], [1], (60, 80), [0.9], keypoints=joints)
    with_joints = draw_array(gray(), person, labels=False, boxes=False)
    assert (with_joints != 100).any()
    hidden = Instances([[5, 5, 55, 55]], [1], (60, 80), [0.9], keypoints=joints * [1, 1, 0])
    assert (draw_array(gray(), hidden, labels=False, boxes=False) == 100).all()


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        draw_array(np.zeros((60, 80, 3), np.float32), scene())
    with pytest.raises(ValueError, match=r"\(60, 80\) pixels, drawn on \(61, 80\)"):
        draw_array(gray(61), scene())
    with pytest.raises(ValueError, match="colors 'rainbow'"):
        draw_array(gray(), scene(), colors="rainbow")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_save_image(tmp_path, suffix):
    path = save_image(tmp_path / "new" / f"a{suffix}", gray())
    assert np.asarray(Image.open(path)).shape == (60, 80, 3)
    assert [p.name for p in path.parent.iterdir()] == [f"a{suffix}"]


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="unknown"):
        save_image(tmp_path / "a.unknown", gray())
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_drawn_without_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"  # Keras imports it where it can, so it is kept out altogether
        "import numpy as np, mrcnn.drawing as d; from mrcnn.structures.instances import Instances\n"
        "found = Instances([[1, 1, 50, 50]], [1], (60, 80), [0.5])\n"
        "assert (d.draw(np.zeros((60, 80), np.uint8), found, as_array=True) > 0).any()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_images_of_other_libraries_and_of_other_depths() -> None:
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:, :40] = (200, 30, 60)
    expected = draw_array(rgb, scene())
    for image in (Image.fromarray(rgb), tf.constant(rgb), Image.fromarray(rgb).convert("RGBA")):
        np.testing.assert_array_equal(draw_array(image, scene()), expected)
    for image in (Image.fromarray(rgb).convert("CMYK"), np.zeros((60, 80), np.uint16)):
        assert draw_array(image, scene()).shape == expected.shape


def test_numbers_of_any_size_are_drawn() -> None:
    """Boxes and joints at 1e9 and beyond, which OpenCV does not take."""
    joints = np.ones((1, 17, 3))
    for far in (1e9, -1e9, 3e38, np.inf, np.nan):
        joints[0, 3, :2] = far
        box = [[0, 0, 30, far]] if far > 0 else [[far, far, 30, 30]]
        person = Instances(box, [1], (60, 80), [0.9], keypoints=joints)
        assert draw_array(gray(), person, class_names=["a", "b"]).shape == (480, 640, 3)


NAMES = ["two\nlines", "\x1b[2Jclear", "\u202eright", "x" * 5000, "木", "", "\ud800", "tab\tcr\r", "$x^"]


def test_names_of_any_letters_are_drawn() -> None:
    names = [*NAMES, "plain"]
    for class_id in range(1, len(names) + 1):
        one = Instances([[5, 5, 50, 70]], [class_id], (60, 80), [0.9])
        assert draw_array(gray(), one, class_names=names).shape == (480, 640, 3)
        assert draw_array(gray(), one, class_names=names, ground_truth=one).shape[1] == 1292
    unknown = Instances([[5, 5, 50, 70]] * 2, [-3, 99], (60, 80), [0.9, 0.8])
    assert draw_array(gray(), unknown, class_names=names).shape == (480, 640, 3)


def test_masks_are_drawn_from_their_windows() -> None:
    """Forty masks of 9 MB each are never held at once."""
    windows = tuple((20 * i, 40 * i, np.ones((60, 80), bool)) for i in range(40))
    boxes = [[20 * i, 40 * i, 20 * i + 60, 40 * i + 80] for i in range(40)]
    many = Instances(boxes, np.ones(40), (3000, 3000), np.ones(40), WindowMasks(windows, 3000, 3000))
    image = np.full((3000, 3000, 3), 100, np.uint8)
    tracemalloc.start()
    drawing = draw_array(image, many, long_side=600, labels=False, boxes=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawing.shape == (600, 600, 3) and peak < 50e6
    assert (drawing[2, 2] != 100).any() and (drawing[590, 10] == 100).all()


def test_a_name_of_240_letters_can_be_written(tmp_path) -> None:
    path = tmp_path / f"{'n' * 240}.png"
    assert save_image(path, gray()) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_colors_of_the_caller_follow_their_instances():
    instances = Instances([[4, 4, 30, 30], [50, 50, 90, 90]], [1, 1], (100, 100), scores=[0.3, 0.9])
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    drawn = draw_array(np.zeros((100, 100, 3), np.uint8), instances, colors=colors, labels=False, long_side=100)
    assert drawn[4, 10].argmax() == 0 and drawn[50, 60].argmax() == 2  # though the second is drawn first
