from __future__ import annotations

import datetime
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.instance_map import InstanceMap
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import kinds, masks, write_image

VALUES = np.zeros((30, 40), np.int32)
VALUES[2:8, 3:9], VALUES[10:20, 10:30], VALUES[25:, 35:], VALUES[25:, :2] = 1, 2, 300, 300


def write(file: Path, values: np.ndarray = VALUES) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, values)
    elif file.suffix == ".png":
        Image.fromarray(values.astype(np.uint16)).save(file)
    else:
        cv2.imwrite(str(file), values)


NAMES = ["a.png", "a.tif", "a.npy", "a_masks.tif", "a_cp_masks.png"]
PLACES = [(folder, name) for folder in ("masks", "labels") for name in NAMES] + [(".", name) for name in NAMES[3:]]


@pytest.mark.parametrize("folder, name", PLACES)
def test_maps_beside_their_images(tmp_path: Path, folder: str, name: str) -> None:
    write_image(tmp_path / ("images" if folder != "." else ".") / "a.jpg")
    write(tmp_path / folder / name)
    data = mrcnn.load_dataset(tmp_path, classes=["cell"])
    assert isinstance(recognize(tmp_path), InstanceMap)
    assert data.class_names == ("cell",) and data.image_ids == ("a",) and not data.issues
    for mask, value in zip(masks(data, 0), (1, 2, 300), strict=True):
        np.testing.assert_array_equal(mask, value == VALUES)
    assert [a.annotation_id for a in data.annotations(0)] == [1, 2, 300]


def test_cellpose_seg_is_read_and_runs_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = {"masks": VALUES.astype(np.uint16), "outlines": VALUES, "filename": "a.png", "diameter": np.float32(3)}
    np.save(tmp_path / "a_seg.npy", content, allow_pickle=True)
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("object",) and len(data.annotations(0)) == 3

    # As Cellpose's window saves it after changes by hand: times, paths and lists of arrays.
    content |= {"manual_changes": [[datetime.datetime.now(), "added mask", [1]]], "model_path": tmp_path / "cyto3"}
    np.save(tmp_path / "a_seg.npy", content | {"flows": [np.zeros(3), [np.zeros(2)], []]}, allow_pickle=True)
    assert len(mrcnn.load_dataset(tmp_path).annotations(0)) == 3

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    np.save(tmp_path / "a_seg.npy", np.array({"masks": Evil()}, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a_seg\.npy: not a file of arrays .*names .*open"):
        mrcnn.load_dataset(tmp_path)
    assert not (tmp_path / "touched").exists()
    for bad in (pickle.dumps(1), b"", b"\x93NUMPY\x01\x00", (tmp_path / "a_seg.npy").read_bytes()[:90]):
        (tmp_path / "a_seg.npy").write_bytes(bad)
        with pytest.raises(DataError, match="a_seg"):
            mrcnn.load_dataset(tmp_path)


def test_splits_and_what_misses(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "a.png")
        write(tmp_path / "masks" / split / "a.png")
    write_image(tmp_path / "images/train/b.png")
    write(tmp_path / "masks/train/c.png")
    write_image(tmp_path / "images/train/d.png", 20, 20)
    write(tmp_path / "masks/train/d.png")
    assert mrcnn.dataset_splits(tmp_path) == ("train", "val")
    data = mrcnn.load_dataset(tmp_path, split="train")
    assert data.image_ids == ("a", "b")
    assert kinds(data) == ["damaged label", "image without label", "label without image"]


def test_a_map_in_color(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    color = np.zeros((30, 40, 3), np.uint8)
    color[2:8, 3:9], color[10:20, 10:30] = (10, 0, 0), (10, 0, 1)
    (tmp_path / "masks").mkdir()
    Image.fromarray(color).save(tmp_path / "masks/a.png")
    assert [int(m.sum()) for m in masks(mrcnn.load_dataset(tmp_path), 0)] == [36, 200]
