"""The way through images, with a detector that counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mrcnn.app.figure import draw_view
from mrcnn.app.session import Actions, Session
from mrcnn.app.view import Edits, edited, filtered
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances


class Counting:
    """Gives as many instances as the image has rows; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, pixels, mode="once"):
        self.asked.append((pixels.shape[:2], mode))
        if mode == "tiles":
            raise InputError("detect_tiled: rotated boxes")
        n = pixels.shape[0]
        return Instances(np.tile([0, 0, 1, 1], (n, 1)), np.ones(n), pixels.shape[:2], np.full(n, 0.9)), 0.5


@pytest.fixture
def actions(tmp_path):
    files = []
    for n in (2, 3, 4):
        files.append(tmp_path / f"{n}.png")
        Image.new("RGB", (5, n)).save(files[-1])
    files.insert(2, tmp_path / "broken.png")
    files[2].write_bytes(b"broken")
    return Actions(Counting(), files)


def test_steps_go_around(actions):
    session = actions.step(Session(), 1)
    assert (session.place, session.view.name, len(session.view.instances)) == (0, "2.png", 2)
    session = actions.step(session, 1)
    assert (session.place, session.view.name) == (1, "3.png")
    assert actions.step(Session(), -1).view.name == "4.png"
    assert actions.go_to(session, 99).view.name == "4.png" and actions.go_to(session, -5).view.name == "2.png"


def test_a_broken_file_is_passed_by(actions):
    session = actions.go_to(Session(), 1)
    refused = actions.step(session, 1)
    assert refused.view is session.view and refused.place == 2 and "broken.png: not an image" in refused.message
    onward = actions.step(refused, 1)
    assert onward.view.name == "4.png" and onward.message == ""


def test_corrections_are_kept_by_image_and_mode(actions):
    session = actions.step(Session(), 1)
    session = dataclasses.replace(session, view=edited(session.view, Edits().with_deleted(0)))
    session = actions.step(session, 1)
    assert session.view.edits == Edits() and session.kept == {(0, "once"): Edits().with_deleted(0)}
    session = actions.step(session, -1)
    assert session.view.edits == Edits().with_deleted(0)
    augmented = actions.look(session, "augmented")
    assert augmented.view.edits == Edits() and actions.detector.asked[-1] == ((2, 5), "augmented")
    assert actions.look(augmented, "once").view.edits == Edits().with_deleted(0)
    runs = len(actions.detector.asked)
    assert actions.look(session, "once").view is session.view and len(actions.detector.asked) == runs


def test_a_broken_file_does_not_get_the_corrections_of_the_image_before(actions):
    session = actions.go_to(Session(), 1)
    session = dataclasses.replace(session, view=edited(session.view, Edits().with_deleted(1)))
    session = actions.step(session, 1)  # the broken one
    assert actions.step(session, -1).view.edits == Edits().with_deleted(1)
    assert actions.step(session, 1).view.edits == Edits()


def test_threshold_and_classes_stay_from_image_to_image(actions):
    session = actions.step(Session(), 1)
    session = dataclasses.replace(session, view=filtered(session.view, 0.3, frozenset({7})))
    session = actions.step(session, 1)
    assert (session.view.threshold, session.view.hidden) == (0.3, frozenset({7}))


def test_an_upload_leaves_the_folder_and_a_refused_one_leaves_all(actions, tmp_path):
    Image.new("RGB", (5, 9)).save(tmp_path / "u.png")
    session = actions.upload(actions.step(Session(), 1), tmp_path / "u.png", "../my.png")
    assert (session.place, session.view.name, len(session.view.instances)) == (None, "my.png", 9)
    (tmp_path / "bad.png").write_bytes(b"bad")
    refused = actions.upload(session, tmp_path / "bad.png")
    assert refused.view is session.view and "bad.png" in refused.message
    assert actions.step(refused, 1).place == 0


def test_a_way_that_the_model_cannot_take_leaves_the_image(actions):
    session = actions.step(Session(), 1)
    refused = actions.look(session, "tiles")
    assert refused.view is session.view and refused.mode == "once" and "rotated" in refused.message


def test_without_a_folder():
    session = Actions(Counting()).step(Session(), 1)
    assert session.view is None and "--data" in session.message


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images_stepped_through(tmp_path):
    """2,000 images with a correction in each tenth, all drawn; what stays of an image are its corrections."""
    psutil = pytest.importorskip("psutil")
    files = [tmp_path / f"{n}.png" for n in range(2000)]
    Image.new("RGB", (96, 64)).save(files[0])
    for file in files[1:]:
        file.hardlink_to(files[0])
    actions, session, held = Actions(Counting(), files), Session(), []
    for n in range(len(files)):
        session = actions.step(session, 1)
        draw_view(session.view, ["thing"])
        if n % 10 == 0:
            session = dataclasses.replace(session, view=edited(session.view, Edits().with_deleted(n % 60)))
        if n in (500, 1999):
            held.append(psutil.Process().memory_info().rss)
    assert len(session.kept) == 200 and held[1] - held[0] < 10e6, held
