"""LiteRT files, held against the Python model."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export import tflite
from mrcnn.export.compare import Difference, compare
from mrcnn.export.errors import ExportError
from mrcnn.export.portable import PortableGraph
from mrcnn.export.tflite import export_tflite, load_tflite
from mrcnn.inference import detect
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.tiny_model import blank_image, noise_images, tiny_model

pytest.importorskip("ai_edge_litert", reason="the runtime of LiteRT files: pip install 'mrcnn-keras[tflite]'")


@pytest.fixture(scope="module")
def path(exported_file):
    return exported_file("tflite")


@pytest.fixture(scope="module")
def loaded(path):
    return load_tflite(path)


def inputs(height=96, width=128, content=(96, 120)):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (1, height, width, 3)).astype(np.uint8), np.array([content], np.int32)


def model_with_pool(model, **changes):
    pool = dataclasses.replace(model.config.box_head.pool, **changes)
    return MaskRCNN(dataclasses.replace(model.config, box_head=dataclasses.replace(model.config.box_head, pool=pool)))


def test_it_answers_as_the_model(model, loaded):
    images = [*noise_images(6), *noise_images(1, seed=1, sides=(30, 40)), noise_images(1, seed=2)[0][:, :70]]
    expected = detect(model, images, score_threshold=None)
    assert sum(map(len, expected)) > 10
    difference = compare(expected, detect(loaded, images, batch_size=2, score_threshold=None))
    assert difference.unmatched == 0.0
    assert difference.scores < 1e-4
    assert difference.boxes < 1e-2
    assert difference.masks < 1e-3


@pytest.mark.parametrize("size", [(96, 96), (96, 160), (160, 96), (64, 64), (64, 256)])
def test_images_of_any_size_on_the_canvas(model, loaded, size):
    image, _ = inputs(*size)
    content = np.array([size], np.int32)
    result = loaded.run(image, content)
    expected = model({"image": image, "content_shape": content}, training=False)
    num = int(expected["valid"].numpy().sum())
    assert num > 0
    for name, value in result.items():
        assert len(value) == num
        np.testing.assert_allclose(value, expected[name][0, :num], rtol=0, atol=1e-2 if name == "boxes" else 1e-4)


def test_nothing_found_is_zero_rows_of_the_right_rank(model, loaded):
    result = detect(loaded, blank_image(100, 120), score_threshold=None)[0]
    assert result.boxes.shape == (0, 4)
    assert np.asarray(result.masks).shape == (0, 100, 120)
    image, content = inputs()
    result = loaded.run(np.full_like(image, 127), content)
    side = model.heads[0].mask_side
    assert {name: (value.shape, value.dtype) for name, value in result.items()} == {
        "boxes": ((0, 4), np.float32),
        "class_ids": ((0,), np.int32),
        "scores": ((0,), np.float32),
        "masks": ((0, side, side), np.float32),
    }


def test_an_image_with_objects_after_one_without(loaded):
    image, content = inputs()
    first = loaded.run(image, content)
    assert len(first["boxes"]) > 0
    assert (np.diff(first["scores"]) <= 0).all()
    assert len(loaded.run(np.full_like(image, 127), content)["boxes"]) == 0
    again = loaded.run(image, content)
    for name, value in first.items():
        assert np.array_equal(value, again[name])


def test_bad_input_is_refused_and_the_next_works(loaded):
    image, content = inputs()
    expected = loaded.run(image, content)
    for bad, shape, message in (
        (image.astype(np.float32), content, "image: expected uint8"),
        (image[:, :1, :1], content, "multiples of 32, got 1 x 1"),
        (image[:, :0, :0], content, "multiples of 32, got 0 x 0"),
        (image, np.array([[97, 10]], np.int32), "expected 1 to 96 and 1 to 128"),
    ):
        with pytest.raises(ValueError, match=message):
            loaded.run(bad, shape)
    assert np.array_equal(loaded.run(image, content)["boxes"], expected["boxes"])


def test_threads_share_a_loaded_file(loaded):
    images = noise_images(4, seed=5)
    expected = [detect(loaded, image, score_threshold=None)[0] for image in images]
    result = [None] * len(images)

    def work(place):
        result[place] = detect(loaded, images[place], score_threshold=None)[0]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for here, there in zip(expected, result, strict=True):
        np.testing.assert_array_equal(here.boxes, there.boxes)


def test_names_of_classes_and_config_travel_along(model, path, loaded):
    assert loaded.class_names == ("thing", "other")
    assert loaded.category_ids == (3, 8)
    assert loaded.config == model.config
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["mrcnn.json", "mrcnn.sha256"]


RUN_ALONE = """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(model_path=sys.argv[1]).get_signature_runner("serving_default")
image = np.random.default_rng(3).integers(0, 256, (1, 96, 128, 3)).astype(np.uint8)
found = runner(image=image, content_shape=np.array([[96, 120]], np.int32))
assert not {"tensorflow", "mrcnn"} & set(sys.modules)
print(len(found["boxes"]), found["masks"].shape[1])
"""


def test_the_stock_runtime_runs_it_without_this_package(path, loaded):
    done = subprocess.run([sys.executable, "-c", RUN_ALONE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = loaded.run(*inputs())
    assert done.stdout.split() == [str(len(expected["boxes"])), str(expected["masks"].shape[1])]


def test_what_is_no_such_file_is_named(path, tmp_path):
    with pytest.raises(ExportError, match=r"absent\.tflite: no such file"):
        load_tflite(tmp_path / "absent.tflite")
    whole = path.read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ExportError, match=r"cut\.tflite: not written by mrcnn"):
        load_tflite(cut)
    flipped = tmp_path / "flipped.tflite"
    middle = len(whole) // 2
    flipped.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ExportError, match=r"flipped\.tflite: damaged"):
        load_tflite(flipped)


def test_an_archive_around_what_is_no_model_is_named(tmp_path):
    content = b"TFL3" * 100
    other = tmp_path / "other.tflite"
    other.write_bytes(content)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("mrcnn.json", "{}")
        archive.writestr("mrcnn.sha256", hashlib.sha256(content).hexdigest())
    with pytest.raises(ExportError, match=r"other\.tflite: LiteRT cannot load it"):
        load_tflite(other)


def test_a_missing_package_is_named(model, path, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    message = r"ai_edge_litert\.interpreter cannot be imported .*pip install .mrcnn-keras\[tflite\]"
    with pytest.raises(ExportError, match=message):
        load_tflite(path)
    with pytest.raises(ExportError, match=message):
        export_tflite(model, tmp_path / "model.tflite")
    assert os.listdir(tmp_path) == []


def test_another_suffix_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"model\.lite: expected a file name that ends in \.tflite"):
        export_tflite(model, tmp_path / "model.lite")


def test_what_has_no_form_in_litert_is_refused(model, tmp_path):
    with pytest.raises(ExportError, match='pools RoIs by "pool" can be exported as a SavedModel only'):
        export_tflite(model_with_pool(model, op="pool"), tmp_path / "model.tflite")
    with pytest.raises(ExportError, match=r"their own number of samples \(pool.sampling_ratio 0\) has no LiteRT form"):
        export_tflite(model_with_pool(model, sampling_ratio=0), tmp_path / "model.tflite")
    assert os.listdir(tmp_path) == []


def test_a_file_that_answers_otherwise_is_not_kept(model, path, loaded, monkeypatch, tmp_path):
    other = tiny_model(seed=1)
    content = tflite._read(path)[0]
    monkeypatch.setattr(tflite, "_convert", lambda *_: content)  # what another model was converted to
    kept = tmp_path / "model.tflite"
    kept.write_bytes(b"what was there before")
    with pytest.raises(ExportError, match="not exported, its detections differ too much from the model's: "):
        export_tflite(other, kept, images=noise_images(2))
    assert os.listdir(tmp_path) == ["model.tflite"]
    assert kept.read_bytes() == b"what was there before"
    export_tflite(model, kept, images=noise_images(2))  # and with the right one it is
    assert load_tflite(kept).config == loaded.config


def test_the_caller_sets_the_bounds(model, path, monkeypatch, tmp_path):
    content = tflite._read(path)[0]
    monkeypatch.setattr(tflite, "_convert", lambda *_: content)
    with pytest.raises(ExportError, match=r"scores .* > -1"):
        export_tflite(model, tmp_path / "model.tflite", images=noise_images(1), max_difference=Difference(scores=-1))
    assert os.listdir(tmp_path) == []


def test_an_operator_that_litert_does_not_have_is_named(model, monkeypatch, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "image")])
    def run(image):
        return {"boxes": tf.cast(image, tf.float64) / 7.0}

    function = run.get_concrete_function()
    names = {"image": function.inputs[0].name}, {"boxes": function.outputs[0].name}
    monkeypatch.setattr(tflite, "portable_graph", lambda *_: PortableGraph(function, *names))
    with pytest.raises(ExportError, match=r"cannot convert the model to LiteRT: it has no operator for RealDiv$"):
        export_tflite(model, tmp_path / "model.tflite")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("text", "reason"), [("first line\nand pages", "first line"), ("", "RuntimeError")])
def test_another_complaint_of_the_converter_is_one_line(text, reason):
    assert tflite._reason(RuntimeError(text)) == reason


@pytest.mark.slow
def test_eight_bits_are_a_quarter_of_the_size_and_close(model, path, tmp_path):
    small = tmp_path / "small.tflite"
    images = noise_images(6)
    # Masks of an untrained model lie close to a half everywhere, so that rounding tips more of their pixels.
    bounds = dataclasses.replace(tflite.INT8_ACCEPTED, masks=0.25)
    export_tflite(model, small, int8=True, images=images, max_difference=bounds)
    assert small.stat().st_size < 0.35 * path.stat().st_size
    difference = compare(
        detect(model, images, score_threshold=None), detect(load_tflite(small), images, score_threshold=None)
    )
    assert difference.detections > 10
    assert difference.scores > 0.0
    assert not difference.beyond(bounds)
