from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import BoxMasks
from mrcnn.structures.outputs import HeadOutput, Pasting


def _instances(n: int = 4) -> Instances:
    """Instance i has box (i, 0, i + 1, 2), class i + 1, its only mask pixel at (i, 1)."""
    masks = np.zeros((n, 6, 5), bool)
    masks[np.arange(n), np.arange(n), 1] = True
    return Instances(
        boxes=[[i, 0, i + 1, 2] for i in range(n)],
        class_ids=list(range(1, n + 1)),
        image_shape=(6, 5),
        scores=[1 - i / 10 for i in range(n)],
        masks=masks,
        keypoints=np.arange(n * 2 * 3).reshape(n, 2, 3),
        is_crowd=[i == 1 for i in range(n)],
    )


def _classes(instances: Instances) -> list[int]:
    return instances.class_ids.tolist()


def test_lists_become_arrays_of_the_stated_types():
    instances = _instances()
    assert (len(instances), instances.image_shape) == (4, (6, 5))
    dtypes = {name: getattr(instances, name).dtype for name in ("boxes", "class_ids", "scores", "masks", "is_crowd")}
    assert dtypes == {
        "boxes": np.float32, "class_ids": np.int32, "scores": np.float32, "masks": bool, "is_crowd": bool,
    }  # fmt: skip
    assert Instances([], [], (np.int64(3), 4)).image_shape == (3, 4)


@pytest.mark.parametrize(
    "index, left",
    [
        (0, [1]), (3, [4]), (-1, [4]), (-4, [1]), (np.int64(2), [3]),
        (slice(1, 3), [2, 3]), (slice(None, None, -1), [4, 3, 2, 1]), (slice(9, None), []),
        ([True, False, False, True], [1, 4]), (np.zeros(4, bool), []), ([2, 0], [3, 1]), ([], []),
    ],
)  # fmt: skip
def test_indexing_filters_every_field_together(index, left: list[int]):
    picked = _instances()[index]
    assert _classes(picked) == left
    assert picked.image_shape == (6, 5)
    for k, class_id in enumerate(left):
        i = class_id - 1
        assert picked.boxes[k].tolist() == [i, 0, i + 1, 2]
        assert picked.scores[k] == pytest.approx(1 - i / 10)
        assert np.argwhere(picked.masks[k]).tolist() == [[i, 1]]
        assert picked.keypoints[k, 0, 0] == 6 * i
        assert picked.is_crowd[k] == (i == 1)
    for name in ("boxes", "scores", "masks", "keypoints", "is_crowd"):
        assert len(getattr(picked, name)) == len(left)


@pytest.mark.parametrize("index", [4, -5, np.int32(7)])
def test_an_index_beyond_the_end_is_an_error(index: int):
    with pytest.raises(IndexError, match=rf"instance {index} of 4"):
        _instances()[index]


def test_fields_that_are_not_set_stay_unset():
    picked = Instances([[0, 0, 1, 1], [1, 1, 2, 2]], [1, 2], (4, 4))[1]
    assert picked.scores is picked.masks is picked.keypoints is picked.is_crowd is None


def test_iterating_gives_one_instance_at_a_time():
    assert [_classes(one) for one in _instances()] == [[1], [2], [3], [4]]
    assert list(Instances.empty((3, 3))) == []


def test_empty():
    nothing = Instances.empty((7, 9))
    assert (len(nothing), nothing.boxes.shape, nothing.masks.shape, nothing.scores.shape) == (
        0,
        (0, 4),
        (0, 7, 9),
        (0,),
    )
    assert Instances.empty((7, 9), with_masks=False).masks is None
    assert Instances([], [], (7, 9)).boxes.shape == (0, 4)
    assert len(nothing[nothing.scores > 0.5]) == 0


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"boxes": np.zeros((2, 5))}, r"Instances\.boxes: expected shape \(2, 4\), got \(2, 5\)"),
        ({"boxes": np.zeros(4)}, r"Instances\.boxes: expected shape \(4, 4\), got \(4,\)"),
        ({"class_ids": [1]}, r"Instances\.class_ids: expected shape \(2,\), got \(1,\)"),
        ({"scores": [[1, 1]]}, r"Instances\.scores: expected shape \(2,\), got \(1, 2\)"),
        ({"masks": np.zeros((2, 5, 6))}, r"Instances\.masks: expected shape \(2, 6, 5\), got \(2, 5, 6\)"),
        ({"masks": np.zeros((6, 5, 2))}, r"Instances\.masks: expected shape \(2, 6, 5\)"),
        ({"keypoints": np.zeros((2, 3))}, r"Instances\.keypoints: expected shape"),
        ({"keypoints": np.zeros((1, 17, 3))}, r"Instances\.keypoints: expected shape \(2, 17, 3\), got \(1, 17, 3\)"),
        ({"is_crowd": [True]}, r"Instances\.is_crowd: expected shape \(2,\), got \(1,\)"),
    ],
)
def test_a_field_of_the_wrong_shape_is_named(changed: dict, message: str):
    fields = {"boxes": np.zeros((2, 4)), "class_ids": [1, 2], "image_shape": (6, 5)}
    with pytest.raises(ValueError, match=message):
        Instances(**{**fields, **changed})


def test_repr_states_number_size_and_fields():
    assert repr(_instances()) == (
        "Instances(n=4, image_shape=(6, 5), fields=boxes class_ids scores masks keypoints is_crowd)"
    )
    assert repr(Instances([], [], (6, 5))) == "Instances(n=0, image_shape=(6, 5), fields=boxes class_ids)"


def test_equal_where_every_value_is():
    instances = _instances()
    assert instances == _instances() and instances == instances[:]
    assert instances != instances[:3] and instances != instances[[1, 0, 2, 3]]
    assert instances != "four objects"
    without = _instances()
    without.masks = None
    assert instances != without and without != instances
    moved = _instances()
    moved.masks[3, 5, 4] = True
    assert instances != moved
    with pytest.raises(TypeError, match="unhashable"):
        hash(instances)


def test_extra_outputs_are_indexed_with_the_rest():
    instances = _instances()
    masks = BoxMasks(np.ones((4, 2, 2), np.float32), instances.boxes, 6, 5)
    fine = HeadOutput("fine", (2, 2), frame="box", paste=Pasting(), mirror="columns")
    extra = {"quality": [0.1, 0.2, 0.3, 0.4], "fine": masks, "embedding": np.arange(8).reshape(4, 2)}
    instances = dataclasses.replace(instances, extra=extra, outputs=(HeadOutput("quality"), fine))
    for index, left in (
        (2, [2]),
        ([True, False, False, True], [0, 3]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([], []),
    ):
        picked = instances[index]
        assert picked.extra["quality"].tolist() == pytest.approx([0.1 * (i + 1) for i in left])
        assert picked.extra["embedding"].tolist() == [[2 * i, 2 * i + 1] for i in left]
        np.testing.assert_array_equal(picked.extra["fine"].paste(), masks.paste()[left])
        assert picked.outputs == instances.outputs
    assert instances == instances[:] != instances[::-1]
    assert "is_crowd quality fine embedding)" in repr(instances)


def test_extra_outputs_are_checked():
    with pytest.raises(ValueError, match=r"extra\['quality'\]: expected shape \(2,\), got \(3,\)"):
        Instances(np.zeros((2, 4)), [1, 2], (6, 5), extra={"quality": [1, 2, 3]})
    other = BoxMasks(np.ones((2, 2, 2)), np.zeros((2, 4)), 5, 6)
    with pytest.raises(ValueError, match=r"extra\['fine'\]: expected shape \(2, 6, 5\), got \(2, 5, 6\)"):
        Instances(np.zeros((2, 4)), [1, 2], (6, 5), extra={"fine": other})
    with pytest.raises(ValueError, match="describes 'quality', which extra does not have"):
        Instances(np.zeros((2, 4)), [1, 2], (6, 5), outputs=(HeadOutput("quality"),))
