from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.errors import InputError, MrcnnError
from mrcnn.inference import detect, iter_detect
from mrcnn.inference.sources import single_images
from tests.blob_finder import BlobFinder, image
from tests.inference.test_stream import same


@pytest.fixture(scope="module")
def model():
    return BlobFinder()


@pytest.fixture(scope="module")
def pixels():
    return image(60, 80, (0, 10, 10, 40, 50), (1, 20, 30, 50, 70))


@pytest.fixture
def folder(tmp_path, pixels):
    for name in ("a.png", "b.png", "c.bmp"):
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def test_one_image_is_one_result_whatever_holds_it(model, pixels, folder):
    [expected] = detect(model, pixels)
    assert len(expected) == 2
    holders = [
        tf.constant(pixels),
        tf.Variable(pixels),
        Image.fromarray(pixels),
        Image.open(folder / "a.png"),  # opened, not decoded yet
        folder / "a.png",
        str(folder / "b.png"),
        np.asfortranarray(pixels),
        pixels[None],
        tf.constant(pixels)[None],
        [pixels],
        (tf.constant(pixels),),
        [Image.fromarray(pixels)],
        lambda: pixels,
        np.array([str(folder / "a.png")]),
    ]
    for holder in holders:
        [result] = detect(model, holder)
        same(result, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16"])
def test_pil_images_of_any_mode(model, mode):
    white = Image.new("L", (80, 60), 0)
    white.paste(255, (10, 10, 50, 40))
    converted = white.convert("RGB")
    if mode == "I;16":
        converted = Image.fromarray(np.asarray(white).astype(np.uint16) * 257)
    elif mode == "LAB":
        converted = Image.merge("LAB", (white, *(Image.new("L", white.size, 128) for _ in "ab")))
    else:
        converted = converted.convert(mode)
    [result] = detect(model, converted)
    assert converted.mode == mode and result.boxes[0] == pytest.approx([10, 10, 40, 50], abs=2)


def test_folders_patterns_and_batches_are_several(model, pixels, folder):
    (folder / "notes.txt").write_text("no image")
    assert len(detect(model, folder)) == 3
    assert len(detect(model, str(folder))) == 3
    assert len(detect(model, str(folder / "*.png"), batch_size=2)) == 2
    assert len(detect(model, np.stack([pixels] * 2))) == 2
    assert len(detect(model, tf.stack([tf.constant(pixels)] * 3))) == 3
    assert len(detect(model, [folder, pixels, str(folder / "*.bmp"), np.stack([pixels] * 2)])) == 7
    assert len(list(iter_detect(model, iter([folder, tf.constant(pixels)])))) == 4
    assert len(detect(model, tf.data.Dataset.from_tensors(pixels).repeat(2))) == 2
    assert detect(model, []) == detect(model, np.zeros((0, 4, 4, 3), np.uint8)) == []


@pytest.mark.parametrize("wrong", [None, 5, 0.5, {"image": 1}, b"bytes", object()])
def test_what_is_no_image_is_one_sentence(model, wrong):
    with pytest.raises(InputError, match=r"expected an image, a path, a folder, a glob pattern .*, got "):
        detect(model, wrong)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (np.zeros((4, 4, 3)), "whose range is unknown"),
        (tf.zeros((4, 4, 3)), "whose range is unknown"),
        (tf.zeros((4, 4, 3), tf.int32), "expected uint8, got int32 .* range is unknown"),
        ([[[0, 0, 0]]], "whose range is unknown"),
        (np.zeros((3, 40, 50), np.uint8), "move the channels last"),
        (np.zeros((4, 4, 3), complex), "expected uint8"),
        (np.zeros((2, 2, 4, 4, 3), np.uint8), "expected uint8"),
        (np.zeros(5, np.uint8), "expected uint8"),
        (Image.new("F", (4, 4)), "float"),
        ([{"image": 1}], "expected uint8"),
    ],
)
def test_what_holds_no_8_bit_pixels_is_one_sentence(model, wrong, said):
    with pytest.raises(MrcnnError, match=said):
        detect(model, wrong)


def test_a_path_that_leads_nowhere_is_named(model, tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: no such image"):
        detect(model, tmp_path / "absent.png")
    with pytest.raises(DataError, match=r"absent\*: matches no file"):
        detect(model, str(tmp_path / "absent*"))
    with pytest.raises(DataError, match="a folder without images"):
        detect(model, tmp_path)


def test_a_data_set_keeps_its_length():
    class Images:
        def __len__(self):
            return 5

        def __iter__(self):
            return iter(())

    images = Images()
    assert single_images(images) is images
