"""Images in file systems of TensorFlow, by the one it has in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.images import image_shape, read_image
from mrcnn.data.pipeline import make_pipeline
from mrcnn.data.remote import RemoteFolder, exists, open_remote, remote_path
from mrcnn.preprocessing import InputConfig

FOLDER = "ram://remote_set/images"


@pytest.fixture
def names(rng: np.random.Generator, tmp_path: Path) -> dict[str, np.ndarray]:
    pixels = {name: rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for name in ("a.png", "sub/b c.png")}
    tf.io.gfile.makedirs(f"{FOLDER}/sub")
    for name, values in pixels.items():
        Image.fromarray(values).save(tmp_path / "local.png")
        with tf.io.gfile.GFile(f"{FOLDER}/{name}", "wb") as file:
            file.write((tmp_path / "local.png").read_bytes())
    with tf.io.gfile.GFile(f"{FOLDER}/empty.png", "wb") as file:
        file.write(b"")
    with tf.io.gfile.GFile(f"{FOLDER}/text.png", "wb") as file:
        file.write(b"text")
    return pixels


def test_images_are_read(names: dict[str, np.ndarray]) -> None:
    for name, values in names.items():
        np.testing.assert_array_equal(read_image(f"{FOLDER}/{name}"), values)
        np.testing.assert_array_equal(read_image(Path(f"{FOLDER}/{name}")), values)  # which has one slash only
        assert image_shape(f"{FOLDER}/{name}") == (30, 40)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.png", "no such image"),
        ("empty.png", "the file is empty"),
        ("text.png", "not an image"),
        ("sub", "found a folder"),
    ],
)
def test_what_is_no_image_is_named(names: dict[str, np.ndarray], name: str, message: str) -> None:
    with pytest.raises(DataError, match=f"{FOLDER}/{name}: .*{message}"):
        read_image(f"{FOLDER}/{name}")


def coco(names: list[str]) -> dict:
    square = {"category_id": 1, "bbox": [5, 5, 10, 10], "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]], "area": 100}
    return {
        "images": [{"id": k, "file_name": name, "height": 30, "width": 40} for k, name in enumerate(names, start=1)],
        "annotations": [{"id": k, "image_id": k, **square} for k in range(1, len(names) + 1)],
        "categories": [{"id": 1, "name": "square"}],
    }


@pytest.mark.parametrize("is_folder", [True, False])
def test_annotations_here_and_images_there(names: dict[str, np.ndarray], tmp_path: Path, is_folder: bool) -> None:
    """The folder of the images is given, or the annotations name it; training takes the batches of local files."""
    local, given = tmp_path / "images", list(names)
    for name, values in names.items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(local / name)
    here, there = tmp_path / "here.json", tmp_path / "there" / "a.json"
    there.parent.mkdir()
    here.write_text(json.dumps(coco(given)))
    there.write_text(json.dumps(coco(given if is_folder else [f"{FOLDER}/{name}" for name in given])))
    remote = mrcnn.load_dataset(there, FOLDER if is_folder else None)
    assert [record.path for record in remote._records] == [f"{FOLDER}/{name}" for name in given]
    assert not remote.validate(pixels=True)
    pair = [make_pipeline(d, InputConfig(64), training=True, seed=1) for d in (mrcnn.load_dataset(here), remote)]
    for ours, theirs in zip(*pair, strict=True):
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key])


def test_missing_folders_and_files(names: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(["a.png", "no.png"])))
    with pytest.raises(DataError, match="ram://nowhere: no such folder of images"):
        mrcnn.load_dataset(path, "ram://nowhere")
    data = mrcnn.load_dataset(path, FOLDER)
    assert next(i.message for i in data.issues if i.image_id == 2).startswith(f"no such image: {FOLDER}/no.png")
    assert RemoteFolder(FOLDER).find("gone/a.png") is None and RemoteFolder(FOLDER).find("/a.png") == f"{FOLDER}/a.png"
    with pytest.raises(DataError, match="no such image"):
        open_remote("ram://nowhere/a.png")


def refuse(*_: object) -> None:
    raise tf.errors.PermissionDeniedError(None, None, "no key for this bucket")


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_file_system_that_refuses_is_not_taken_for_one_without_the_image(
    names: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    """The cause is in the message, of a listing as of a single file."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(["a.png" if is_folder else f"{FOLDER}/a.png"])))
    monkeypatch.setattr(tf.io.gfile, "listdir", refuse)
    monkeypatch.setattr(tf.io.gfile, "exists", refuse)
    with pytest.raises(DataError, match=rf"{FOLDER}.*: cannot be (listed|opened) \(no key for this bucket\)") as caught:
        mrcnn.load_dataset(path, FOLDER if is_folder else None)
    assert "no such" not in str(caught.value)
    with pytest.raises(DataError, match=r"ram://x/a: cannot be opened \(no key"):
        exists("ram://x/a")


def test_a_folder_that_is_refused(names: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """`tf.io.gfile.isdir` answers no to every error."""
    monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: False)
    monkeypatch.setattr(tf.io.gfile, "stat", refuse)
    with pytest.raises(DataError, match=rf"{FOLDER}: cannot be opened \(no key for this bucket\)"):
        RemoteFolder(FOLDER)


def test_what_is_a_path_of_another_system() -> None:
    assert (
        remote_path("ram:/x/a.png") == "ram://x/a.png" and remote_path("gs://bucket/a b.png") == "gs://bucket/a b.png"
    )
    for path in ("a.png", "/x/a.png", "C:/x/a.png", "C:\\x", "http://x/a.png", "unknown://x/a.png", "ram:", "a:b"):
        assert remote_path(path) is None
