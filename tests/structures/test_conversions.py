from __future__ import annotations

import sys
from types import SimpleNamespace as Like

import numpy as np
import pytest

from mrcnn.errors import DependencyError, InputError
from mrcnn.structures import conversions
from mrcnn.structures.instances import Instances


def some() -> Instances:
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 4:9, 5:15] = True
    masks[0, 6, 7] = False
    masks[1, 10:20, 22:30] = True
    return Instances([[4, 5, 9, 15], [10.2, 21.8, 20, 30]], [2, 1], (20, 30), scores=[0.9, 0.25], masks=masks)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that keep what they are given, in place of the libraries."""
    monkeypatch.setitem(sys.modules, "supervision", Like(Detections=Like))
    monkeypatch.setitem(sys.modules, "fiftyone", Like(Detection=Like, Detections=Like))


@pytest.mark.usefixtures("stand_ins")
def test_supervision() -> None:
    held = some().to_supervision(["cat", "dog"])
    np.testing.assert_array_equal(held.xyxy, np.array([[5, 4, 15, 9], [21.8, 10.2, 30, 20]], np.float32))
    assert held.class_id.tolist() == [1, 0] and held.data["class_name"].tolist() == ["dog", "cat"]
    assert Instances.from_supervision(held) == some()
    bare = Instances([[1, 2, 3, 4]], [1], (5, 6)).to_supervision()
    assert bare.mask is None and bare.confidence is None and bare.data == {}
    assert Instances.from_supervision(bare, (5, 6)) == Instances([[1, 2, 3, 4]], [1], (5, 6))
    with pytest.raises(InputError, match="do not state the size"):
        Instances.from_supervision(bare)
    bare.class_id = None
    assert Instances.from_supervision(bare, (5, 6)).class_ids.tolist() == [1]
    with pytest.raises(InputError, match=r"class id 2, expected 1..1"):
        some().to_supervision(["cat"])


def test_the_real_supervision() -> None:
    library = pytest.importorskip("supervision", reason="not a dependency")
    held = some().to_supervision(["cat", "dog"])
    assert isinstance(held, library.Detections)
    assert Instances.from_supervision(held) == some()
    np.testing.assert_array_equal(held.area, [49, 80])
    empty = Instances.empty((20, 30)).to_supervision(["cat"])
    assert len(empty) == 0 and len(Instances.from_supervision(empty, (20, 30))) == 0


@pytest.mark.usefixtures("stand_ins")
def test_fiftyone() -> None:
    first, second = some().to_fiftyone(["cat", "dog"]).detections
    assert (first.label, second.label) == ("dog", "cat") and second.confidence == 0.25
    assert first.bounding_box == pytest.approx([5 / 30, 4 / 20, 10 / 30, 5 / 20])
    assert first.mask.shape == (5, 10) and first.mask.sum() == 49
    again = Instances.from_fiftyone(some().to_fiftyone(["cat", "dog"]), (20, 30), ["cat", "dog"])
    np.testing.assert_array_equal(again.masks, some().masks)
    np.testing.assert_allclose(again.boxes, some().boxes, atol=1e-5)
    assert again.class_ids.tolist() == [2, 1] and again.scores.tolist() == pytest.approx([0.9, 0.25])
    bare = Instances([[1, 2, 3, 4]], [1], (5, 6)).to_fiftyone()
    assert vars(bare.detections[0]).keys() == {"label", "bounding_box"} and bare.detections[0].label == "class_1"
    with pytest.raises(InputError, match="label 'class_1' is not among class_names"):
        Instances.from_fiftyone(bare, (5, 6), ["cat"])
    half = Like(detections=[first, *bare.detections])
    with pytest.raises(InputError, match="1 of 2 detections have no mask"):
        Instances.from_fiftyone(half, (5, 6), ["dog", "class_1"])
    assert len(Instances.from_fiftyone(Like(detections=[]), (5, 6), [])) == 0


@pytest.mark.usefixtures("stand_ins")
def test_a_mask_is_cut_where_its_box_ends() -> None:
    """Pixels outside the box are left out; a box of less than a pixel keeps one; boxes may reach out of the image."""
    mask = np.ones((1, 6, 7), bool)
    for box, shape in (([1, 2, 4, 6], (3, 4)), ([1.1, 2.1, 1.2, 2.2], (1, 1)), ([-2, -1, 3, 8], (5, 9))):
        held = Instances([box], [1], (6, 7), masks=mask).to_fiftyone(["a"])
        assert held.detections[0].mask.shape == shape
        again = Instances.from_fiftyone(held, (6, 7), ["a"])
        y1, x1 = max(round(box[0]), 0), max(round(box[1]), 0)
        expected = np.zeros((6, 7), bool)
        expected[y1 : round(box[0]) + shape[0], x1 : round(box[1]) + shape[1]] = True
        np.testing.assert_array_equal(again.masks[0], expected)


@pytest.mark.parametrize("name", ["supervision", "fiftyone"])
def test_what_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(wanted: str) -> None:
        raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(conversions.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=f"{name} is not installed; pip install {name}"):
        getattr(some(), f"to_{name}")()
