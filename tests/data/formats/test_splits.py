from __future__ import annotations

from pathlib import Path

from mrcnn.data.formats.splits import canonical, in_order, name_in, split_folders


def test_names_of_splits(tmp_path: Path) -> None:
    assert [canonical(n) for n in ("Train", "valid", "validation", "val2017", "testing")] == [
        "train",
        "val",
        "val",
        "val",
        "test",
    ]
    assert name_in("instances_train2017") == "train" and name_in("person_keypoints_val") == "val"
    assert name_in("annotations") is None and name_in("_annotations.coco") is None
    assert in_order(["b", "test", "train", "a", "val"]) == ["train", "val", "test", "a", "b"]
    for name in ("valid", "train", "val", "other"):
        (tmp_path / name).mkdir()
    assert split_folders(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "val"}
    assert split_folders(tmp_path / "absent") == {}
