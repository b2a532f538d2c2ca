"""The parts of samples/ that are more than calls of public names."""

from __future__ import annotations

import runpy
import sys

import cv2
import numpy as np
import pytest

import mrcnn
from mrcnn.structures import Instances
from tests.conftest import SAMPLES
from tests.tiny_model import noise_pictures, tiny_model


@pytest.fixture(scope="module")
def shapes():
    return runpy.run_path(str(SAMPLES / "shapes/shapes.py"))


def test_shapes_are_what_their_masks_say(shapes):
    seen = set()
    for seed in range(40):
        image, masks, class_ids = shapes["draw_picture"](seed)
        again = shapes["draw_picture"](seed)
        np.testing.assert_array_equal(image, again[0])
        assert image.shape == (128, 128, 3) and masks.shape == (128, 128, len(class_ids)) and masks.dtype == bool
        assert 1 <= len(class_ids) <= 4 and masks.any((0, 1)).all() and masks.sum(-1).max() == 1  # no pixel of two
        ground = image[~masks.any(-1)]
        assert (ground == ground[0]).all()
        for mask, class_id in zip(np.moveaxis(masks, -1, 0), class_ids, strict=True):
            colours = image[mask]
            assert (colours == colours[0]).all() and np.abs(colours[0].astype(int) - ground[0]).max() >= 30
            seen.add(int(class_id))
    assert seen == {1, 2, 3} and shapes["CLASS_NAMES"] == ("circle", "square", "triangle")


def test_shapes_have_the_area_of_their_kind(shapes):
    outline = shapes["_outline"]
    for class_id, share in ((1, np.pi / 4), (2, 1.0), (3, 1 / np.sqrt(3))):  # of the square of 2 r, as drawn
        area = outline(class_id, (64, 64), 25, 128).sum()
        assert area == pytest.approx(share * 51**2, rel=0.06)


def test_splash_leaves_colour_on_objects_only():
    splash = runpy.run_path(str(SAMPLES / "balloon/splash.py"), run_name="splash")["splash"]
    picture = np.full((4, 6, 3), (200, 40, 10), np.uint8)
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :2, :2], masks[1, 3, 5] = True, True
    found = Instances(np.array([[0, 0, 2, 2], [3, 5, 4, 6]]), [1, 1], (4, 6), [0.9, 0.8], masks)
    result = splash(picture, found)
    inside = masks.any(0)
    assert (result[inside] == (200, 40, 10)).all() and (result[~inside] == 84).all()  # 0.299 r + 0.587 g + 0.114 b
    assert (splash(picture, Instances.empty((4, 6))) == 84).all()


@pytest.mark.slow
def test_splash_of_a_picture_and_a_film(tmp_path, monkeypatch, capsys):
    mrcnn.save_checkpoint(tiny_model(), tmp_path / "model.safetensors")
    pictures = [noise_pictures(1, seed=i, sides=(96, 97))[0] for i in range(3)]
    mrcnn.save_picture(tmp_path / "a.png", pictures[0])
    film = cv2.VideoWriter(str(tmp_path / "b.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (96, 96))
    for picture in pictures:
        film.write(picture[..., ::-1].copy())
    film.release()
    for name in ("a.png", "b.avi"):
        monkeypatch.setattr(sys, "argv", ["splash.py", str(tmp_path), str(tmp_path / name)])
        runpy.run_path(str(SAMPLES / "balloon/splash.py"), run_name="__main__")
    assert "a_splash.png" in capsys.readouterr().out
    grey = cv2.cvtColor(pictures[0], cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    result = mrcnn.read_picture(tmp_path / "a_splash.png")
    assert ((result == pictures[0]).all(-1) | (result == grey).all(-1)).all()
    film = cv2.VideoCapture(str(tmp_path / "b_splash.avi"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and film.read()[1].shape == (96, 96, 3)
