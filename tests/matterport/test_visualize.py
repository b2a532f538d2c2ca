from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from mrcnn import visualize

plt = visualize.plt
NAMES = ["BG", "square", "circle"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *_: calls.append(plt.gcf()))
    return calls


def _scene():
    image = np.full((40, 60, 3), 90, np.uint8)
    masks = np.zeros((40, 60, 2), bool)
    masks[5:20, 5:25, 0] = masks[22:35, 30:50, 1] = True
    boxes = np.array([[5, 5, 20, 25], [22, 30, 35, 50]], np.int32)
    return image, boxes, masks, np.array([1, 2], np.int32)


def _drawn(ax):
    return np.asarray(ax.images[0].get_array())


def test_display_instances_shows_a_figure_of_its_own(shown, tmp_path):
    image, boxes, masks, ids = _scene()
    scores = np.array([0.9, 0.8], np.float32)
    visualize.display_instances(image, boxes, masks, ids, NAMES, scores, figsize=(4, 4), title="found")
    assert len(shown) == 1 and shown[0].axes[0].get_title() == "found"
    assert tuple(shown[0].get_size_inches()) == (4, 4)
    plt.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert (image == 90).all()


def test_display_instances_into_axes_in_given_colors(shown):
    image, boxes, masks, ids = _scene()
    _, ax = plt.subplots()
    visualize.display_instances(
        image, boxes, masks, ids, NAMES, ax=ax, colors=[(1.0, 0, 0), (0, 0, 1.0)], captions=["a", "b"], show_bbox=False
    )
    assert not shown
    drawn = _drawn(ax)
    scale = drawn.shape[0] / 40
    red, blue = drawn[int(15 * scale), int(15 * scale)], drawn[int(30 * scale), int(40 * scale)]
    assert red[0] > 100 > red[2] and blue[2] > 100 > blue[0]


def test_display_instances_with_nothing_to_show(shown, capsys):
    image = _scene()[0]
    nothing = (np.zeros((0, 4), np.int32), np.zeros((40, 60, 0)), np.zeros(0, np.int32))
    visualize.display_instances(image, *nothing, NAMES, np.zeros(0))
    assert capsys.readouterr().out == "\n*** No instances to display *** \n\n" and len(shown) == 1
    with pytest.raises(AssertionError):
        visualize.display_instances(image, np.ones((2, 4)), np.zeros((40, 60, 1)), np.ones(2, int), NAMES)


def test_random_colors():
    colors = visualize.random_colors(3)
    assert sorted(colors) == [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]
    assert visualize.random_colors(1, bright=False) == [(0.7, 0.0, 0.0)]


def test_apply_mask_changes_the_image_itself():
    image = np.full((2, 2, 3), 100, np.uint8)
    out = visualize.apply_mask(image, np.array([[1, 0], [0, 0]]), (1.0, 0.0, 0.0))
    assert out is image and image[0, 0].tolist() == [177, 50, 50] and image[1, 1].tolist() == [100] * 3


def test_display_images_and_top_masks(shown):
    image, _, masks, ids = _scene()
    visualize.display_images([image, image], titles=["a", "b"], cols=2)
    assert [ax.get_title() for ax in shown[0].axes] == ["a", "b"]
    visualize.display_top_masks(image, masks, ids, NAMES)
    assert [ax.get_title() for ax in shown[1].axes] == ["H x W=40x60", "square", "circle", "-", "-"]


def test_draw_boxes_and_rois(capsys):
    image, boxes, masks, _ = _scene()
    _, ax = plt.subplots()
    visualize.draw_boxes(image, boxes, boxes + 2, masks, ["a", "b"], visibilities=[1, 2], title="refined", ax=ax)
    assert len(ax.patches) == 4 and [t.get_text() for t in ax.texts] == ["a", "b"]
    visualize.draw_rois(image, boxes, boxes + 1, np.ones((2, 28, 28)), np.array([1, 0]), NAMES, limit=2)
    assert "Positive ROIs:  1\nNegative ROIs:  1\nPositive Ratio: 0.50" in capsys.readouterr().out


def test_draw_box_is_two_pixels_thick():
    image = visualize.draw_box(np.zeros((10, 10), int), [1, 2, 6, 7], 5)
    assert (image[1:3, 2:7] == 5).all() and (image[6:8, 2:7] == 5).all() and image[4, 5] == 0


def test_plots():
    visualize.plot_precision_recall(0.75, np.array([1, 0.5, 0]), np.array([0, 0.5, 1]))
    assert plt.gca().get_title() == "Precision-Recall Curve. AP@50 = 0.750"
    visualize.plot_overlaps(np.array([1, 2]), np.array([1]), np.array([0.9]), np.array([[0.8, 0.1]]), NAMES)
    assert [t.get_text() for t in plt.gca().texts] == ["0.800\nmatch", "0.100\n"]


def test_display_differences():
    image, boxes, masks, ids = _scene()
    _, ax = plt.subplots()
    visualize.display_differences(
        image, boxes, ids, masks, boxes[:1], ids[:1], np.array([0.9]), masks[..., :1], NAMES, ax=ax
    )
    assert "GT=green, pred=red" in ax.get_title()


def test_names_that_scripts_reach_through_the_module():
    assert visualize.Polygon([(0, 0), (1, 0), (0, 1)]) is not None and visualize.patches.Rectangle
    square = np.zeros((6, 6))
    square[2:4, 2:4] = 1
    (line,) = visualize.find_contours(square, 0.5)
    assert line.min() == 1.5 and line.max() == 3.5


def test_weight_stats_are_a_table(monkeypatch):
    weight = type("V", (), {"path": "conv/kernel", "__array__": lambda self, dtype=None, copy=None: np.zeros(3)})()
    layer = type("L", (), {"weights": property(lambda self: [weight])})()
    tables = []
    monkeypatch.setattr("mrcnn.matterport.plots.display_table", tables.append)
    visualize.display_weight_stats(type("M", (), {"get_trainable_layers": lambda self: [layer]})())
    assert tables[0][1][:2] == ["conv/kernel*** dead?", "(3,)"]


def test_display_instances_leaves_texts_and_patches_on_the_axes(shown):
    image, boxes, masks, ids = _scene()
    _, ax = plt.subplots()
    visualize.display_instances(image, boxes, masks, ids, NAMES, np.array([0.9, 0.8]), ax=ax)
    assert [text.get_text() for text in ax.texts] == [
        f"{NAMES[i]} {s:.3f}" for i, s in zip(ids, (0.9, 0.8), strict=True)
    ]
    rectangles = [p for p in ax.patches if isinstance(p, visualize.patches.Rectangle)]
    assert [(r.get_y(), r.get_x()) for r in rectangles] == [tuple(box[:2]) for box in boxes]
    assert sum(isinstance(p, visualize.Polygon) for p in ax.patches) >= 2
    assert ax.images[0].get_array().shape == image.shape
