from __future__ import annotations

import pytest

from mrcnn.structures.outputs import KEYPOINTS, MASKS, STANDARD, HeadOutput, Pasting, extra_outputs


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"name": "two words"}, "identifier"),
        ({"name": "scores"}, "identifier other than boxes"),
        ({"frame": "box", "mirror": "columns", "shape": (3,)}, "two or more axes"),
        ({"frame": "image"}, "two or more numbers in the last axis"),
        ({"frame": "image", "shape": (4, 1)}, "two or more numbers in the last axis"),
        ({"shape": (3, 3), "paste": Pasting()}, "only a grid"),
        ({"frame": "box", "mirror": "columns", "shape": (3, 3, 2), "paste": Pasting()}, "only a grid"),
        ({"frame": "box", "mirror": "columns", "shape": (3, 3), "draw": "mask"}, "not pasted"),
        ({"frame": "image", "shape": (2,), "draw": "points"}, r"shape \(number, 3\)"),
        ({"shape": (2,), "draw": "label"}, "takes one number"),
        ({"frame": "box", "shape": (3, 3)}, "mirrored"),
        ({"mirror": "joints"}, "mirrored"),
        ({"name": "masks"}, "expected paste="),
        ({"name": "keypoints", "shape": (2,)}, "points of shape"),
    ],
)
def test_contradictions_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadOutput(**{"name": "mine", **fields})


def test_names() -> None:
    fine = HeadOutput("fine_masks", (None, None), frame="box", paste=Pasting(), mirror="columns")
    assert [o.boxes_name for o in (MASKS, fine)] == ["mask_boxes", "fine_mask_boxes"]
    assert extra_outputs((*STANDARD, fine)) == (fine,)
    assert KEYPOINTS.result_key == "keypoints"
