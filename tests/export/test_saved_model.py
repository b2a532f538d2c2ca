from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import textwrap
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.export import export_saved_model
from mrcnn.export.compare import ACCEPTED
from mrcnn.export.errors import ExportError
from mrcnn.export.saved_model import expect_stock_operations
from mrcnn.export.served import Limits, ServedModel
from mrcnn.export.served_check import batches_of, encode_png, pixel_inputs, served_instances, to_warm_up
from mrcnn.export.served_check import noise_images as noise_within
from mrcnn.inference import detect
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.input import InputConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.blob_finder import BlobFinder, image, mixed_images
from tests.export.test_image_bytes import bomb_jpeg, bomb_png, chunk
from tests.tiny_model import blank_image, noise_images, tiny_model

RELOAD = textwrap.dedent(
    """
    import sys
    import numpy as np, tensorflow as tf
    serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
    images, results = np.load(sys.argv[2]), {}
    for name in images:
        pixels = images[name]
        for key, value in serve(image=tf.constant(pixels[None]), shape=tf.constant([pixels.shape[:2]])).items():
            results[f"{name} {key}"] = value.numpy()[0]
    np.savez(sys.argv[3], **results)
    assert not [m for m in sys.modules if m.split(".")[0] == "mrcnn"], "the package was imported"
    """
)


def run_elsewhere(path, images, tmp_path):
    """The SavedModel's answers from a process that does not know the package, by name for each image."""
    np.savez(tmp_path / "images.npz", *images)
    command = [sys.executable, "-c", RELOAD, str(path), str(tmp_path / "images.npz"), str(tmp_path / "results.npz")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    results = np.load(tmp_path / "results.npz")
    names = {key.split()[1] for key in results}
    return [{name: results[f"arr_{i} {name}"] for name in names} for i in range(len(images))]


def answers(signature, **inputs):
    return {name: value.numpy() for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def by_pixels(signatures, images, kind="small"):
    outputs = answers(signatures["serving_default"], **pixel_inputs(images))
    return served_instances(outputs, [p.shape[:2] for p in images], kind)


def by_files(signatures, images, kind="small"):
    outputs = answers(signatures["encoded"], image_bytes=[encode_png(p) for p in images])
    return served_instances(outputs, [p.shape[:2] for p in images], kind)


def expect_same(served, result, tolerance=1e-4):
    assert np.array_equal(served.class_ids, result.class_ids)
    np.testing.assert_allclose(served.scores, result.scores, atol=tolerance)
    np.testing.assert_allclose(served.boxes, result.boxes, atol=tolerance)
    assert (served.masks != result.masks).sum() <= 1e-4 * max(served.masks.size, 1)
    if result.keypoints is not None:
        np.testing.assert_allclose(served.keypoints, result.keypoints, atol=10 * tolerance)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = BlobFinder()
    path = tmp_path_factory.mktemp("export") / "model"
    assert export_saved_model(model, path) == path / "1"
    return model, path / "1"


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported[1])).signatures


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A real network, small, with masks and keypoints; images, one of them blank; where it was exported."""
    config = tiny_model().config
    config = dataclasses.replace(config, heads=(*config.heads, KeypointHeadConfig(num_joints=3, conv_dims=(16,))))
    model = MaskRCNN(config, ["thing", "other"], [3, 8])
    logits = model.box_head.class_logits  # as in `tiny_model`: it finds things in noise, and nothing in a blank image
    logits.kernel.assign(logits.kernel * 10.0)
    logits.bias.assign([4.0, 0.0, 0.0])
    images = [blank_image(100, 120), *noise_images(4)]
    said = []
    path = export_saved_model(model, tmp_path_factory.mktemp("real") / "model", images=images, log=said.append)
    return model, images, path, said


@pytest.mark.slow
def test_reloaded_elsewhere_it_answers_as_here(exported, tmp_path):
    model, path = exported
    images = [image(50, 70), image(7, 33, (0, 0, 0, 7, 33)), *mixed_images(6)]
    served = run_elsewhere(path, images, tmp_path)
    for there, pixels, result in zip(served, images, detect(model, images, score_threshold=None), strict=True):
        there = {name: value[np.newaxis] for name, value in there.items()}
        expect_same(served_instances(there, [pixels.shape[:2]])[0], result)


def test_nothing_found_is_no_rows_of_the_right_rank(signatures):
    outputs = answers(signatures["serving_default"], **pixel_inputs([image(50, 70)]))
    assert {name: value.shape for name, value in outputs.items()} == {
        "boxes": (1, 0, 4),
        "class_ids": (1, 0),
        "mask_boxes": (1, 0, 4),
        "masks": (1, 0, 28, 28),
        "num_detections": (1,),
        "scores": (1, 0),
        "valid": (1, 0),
    }
    assert outputs["num_detections"].tolist() == [0]


OTHERS = {
    "torchvision": {"rounding": "floor", "interpolation": "linear"},
    "matterport": {
        "rounding": "half_even",
        "never_shrink_for_short": True,
        "interpolation": "linear_black_u8",
        "canvas": "square",
        "padding": "center",
        "end_offset": -1.0,
        "whole_pixels": True,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("rules", OTHERS.values(), ids=OTHERS)
def test_other_conventions_answer_as_here(rules):
    model = BlobFinder(**rules)
    signatures = ServedModel(model, limits=Limits(50_000)).signatures
    images = [image(7, 33, (0, 0, 0, 7, 33)), image(200, 90, (1, 30, 20, 80, 70)), *mixed_images(3)]
    for served, result in zip(by_pixels(signatures, images), detect(model, images, score_threshold=None), strict=True):
        expect_same(served, result)


def compact(signatures, images, scores, most):
    files = [encode_png(p) for p in images]
    return answers(
        signatures["compact"],
        image_bytes=files,
        score_threshold=np.array(scores, np.float32),
        max_detections=np.array(most, np.int32),
    )


def test_small_answers_hold_the_same_masks(exported, signatures):
    images = mixed_images(5)
    outputs = compact(signatures, images, [0.0] * 5, [1000] * 5)
    assert set(outputs) == {"boxes", "scores", "class_ids", "masks", "num_detections", "size"}
    assert outputs["size"].tolist() == [list(p.shape[:2]) for p in images]
    served = served_instances(outputs, [p.shape[:2] for p in images], "rle")
    for there, here in zip(served, detect(exported[0], images, score_threshold=None), strict=True):
        expect_same(there, here)
        assert {rle["counts"].encode() for rle in encode_masks(here)} <= set(outputs["masks"].ravel().tolist())


def test_a_request_says_which_detections_it_wants(signatures):
    pixels = image(64, 64, (0, 5, 5, 9, 9), (2, 20, 20, 40, 40))
    whole = compact(signatures, [pixels] * 3, [0.0, 1.1, 0.0], [9, 9, 1])
    assert whole["num_detections"].tolist() == [2, 0, 1]
    assert whole["masks"][1].tolist() == [b"", b""]
    assert whole["scores"][2, 0] == whole["scores"][0].max() and whole["scores"][2, 1] == 0
    nothing = compact(signatures, [pixels], [0.0], [0])
    assert nothing["masks"].shape == (1, 0) and nothing["boxes"].shape == (1, 0, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="different numbers of images"):
        compact(signatures, [pixels] * 2, [0.0], [9])


def test_mixed_sizes_in_one_request_answer_as_each_alone(exported, signatures):
    model, _ = exported
    images = mixed_images(9)
    alone = detect(model, images, score_threshold=None)
    for served in (by_pixels(signatures, images), by_files(signatures, images)):
        for there, here in zip(served, alone, strict=True):
            expect_same(there, here)


def test_detections_come_first_and_what_is_none_is_zero(signatures):
    # The middle one of three channels is dark, so the model's own second entry is padding
    images = [image(64, 64, (0, 5, 5, 9, 9), (2, 20, 20, 40, 40)), image(64, 64, (1, 5, 5, 9, 9))]
    served = answers(signatures["serving_default"], **pixel_inputs(images))
    assert served["num_detections"].tolist() == [2, 1]
    assert served["class_ids"].tolist() == [[1, 3], [2, 0]]
    assert served["valid"].tolist() == [[True, True], [True, False]]
    for name in ("boxes", "scores", "masks", "mask_boxes"):
        assert not served[name][1, 1].any()


@pytest.mark.slow
@pytest.mark.parametrize("kind, frozen", [("full", True), ("packed", False)])
def test_masks_on_the_images_pixels(tmp_path, kind, frozen):
    model = BlobFinder()
    path = export_saved_model(model, tmp_path / "model", masks=kind, frozen=frozen, score_threshold=0.5)
    loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    signatures = loaded.signatures
    images = [image(61, 43), *mixed_images(4)]
    for served in (by_pixels(signatures, images, kind), by_files(signatures, images, kind)):
        for there, here in zip(served, detect(model, images, score_threshold=0.5), strict=True):
            expect_same(there, here)
    blank = answers(signatures["encoded"], image_bytes=[encode_png(image(61, 43))])
    assert blank["masks"].shape == (1, 0, 61, 6 if kind == "packed" else 43)
    assert len(signatures["encoded"].variables) == (0 if frozen else 1)
    assert json.loads((path / "assets.extra/mrcnn.json").read_text())["masks"] == {"kind": kind, "threshold": 0.5}


@pytest.mark.slow
def test_only_stock_operations(real, tmp_path):
    _, _, path, _ = real
    expect_stock_operations(path)

    def through_python(image):
        return {"sum": tf.numpy_function(np.sum, [image], tf.float32)}

    module = tf.Module()
    signature = tf.function(through_python, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "python"), signature.get_concrete_function())
    with pytest.raises(ExportError, match="PyFunc"):
        expect_stock_operations(tmp_path / "python")
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)
    signature = tf.function(lambda x: {"y": module.table.lookup(x)}, input_signature=[tf.TensorSpec([None], tf.int32)])
    tf.saved_model.save(module, str(tmp_path / "table"), signature.get_concrete_function())
    with pytest.raises(ExportError, match="HashTable"):
        expect_stock_operations(tmp_path / "table")


@pytest.mark.slow
def test_what_lies_beside_the_graph(real):
    from tensorflow_serving.apis import prediction_log_pb2

    _, _, path, said = real
    stored = json.loads((path / "assets.extra/mrcnn.json").read_text())
    assert stored["class_names"] == ["thing", "other"]
    assert stored["category_ids"] == [3, 8]
    assert InputConfig(**stored["input"]) == InputConfig(96, 160)
    limits = {"max_pixels": 50_000_000, "max_request_pixels": 100_000_000, "min_side": 2, "max_batch_size": 16}
    assert stored["limits"] == limits
    assert stored["compared"]["detections"] > 20
    assert len(said) == 1 and f"{stored['compared']['detections']} detections" in said[0]
    assert (path / "assets.extra/class_names.txt").read_text() == "thing\nother\n"
    assert sorted(p.name for p in path.parent.iterdir()) == ["1", "batching.config", "models.config"]
    signatures = tf.saved_model.load(str(path)).signatures
    used = set()
    for record in tf.data.TFRecordDataset(str(path / "assets.extra/tf_serving_warmup_requests")).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        assert len(answers(signatures[request.model_spec.signature_name], **inputs)["num_detections"]) >= 1
        used.add(request.model_spec.signature_name)
    assert used == {"serving_default", "encoded", "compact"}


@pytest.mark.slow
def test_the_real_model_answers_elsewhere_as_here(real, tmp_path):
    model, images, path, _ = real
    result = detect(model, images, score_threshold=None)
    assert sum(map(len, result)) > 10
    assert len(result[0]) == 0
    served = run_elsewhere(path, images, tmp_path)
    for there, pixels, expected in zip(served, images, result, strict=True):
        there = {name: value[np.newaxis] for name, value in there.items()}
        expect_same(served_instances(there, [pixels.shape[:2]])[0], expected)
    assert served[0]["keypoints"].shape == (0, 3, 3)
    assert served[0]["masks"].shape == (0, 28, 28)


def ordinary(signatures):
    """An ordinary request is answered as ever."""
    pixels = image(64, 64, (0, 5, 5, 9, 9))
    for served in (by_pixels(signatures, [pixels]), by_files(signatures, [pixels])):
        assert served[0].class_ids.tolist() == [1]
        np.testing.assert_allclose(served[0].boxes, [[5, 5, 9, 9]], atol=1e-3)


HOSTILE_PIXELS = {
    "0 x 0": ((1, 0, 0, 3), [[0, 0]], "image 0 has 0 x 0 pixels"),
    "1 x 1": ((1, 1, 1, 3), [[1, 1]], "image 0 has 1 x 1 pixels .* sides of at least 2"),
    "20,000 x 1": ((1, 20_000, 1, 3), [[20_000, 1]], "image 0 has 20000 x 1 pixels"),
    "too many pixels": ((1, 8000, 8000, 3), [[8000, 8000]], "image 0 has 8000 x 8000 .* at most 50000000 pixels"),
    "the second one": ((2, 8, 8, 3), [[8, 8], [-3, 8]], "image 1 has -3 x 8"),
    "larger than it is": ((1, 8, 8, 3), [[8, 9]], "larger than image"),
    "shapes of others": ((2, 8, 8, 3), [[8, 8]], "different numbers of images"),
    "no image": ((0, 8, 8, 3), np.zeros((0, 2), np.int32), "expected 1 to 16 images"),
    "too many": ((17, 8, 8, 3), [[8, 8]] * 17, "expected 1 to 16 images"),
}


@pytest.mark.slow
def test_masks_that_take_too_much_memory_are_refused(monkeypatch):
    monkeypatch.setattr("mrcnn.export.served.MAX_MASK_BYTES", 64 * 64)
    signatures = ServedModel(BlobFinder(), masks="full", limits=Limits(50_000)).signatures
    pixels = image(64, 64, (0, 5, 5, 9, 9))
    assert by_files(signatures, [pixels], "full")[0].masks.sum() == 8
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"masks of this request .* send fewer images"):
        by_files(signatures, [pixels, pixels], "full")


def one_bit_png(side):
    """A PNG of side x side black pixels, of a few kB."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * side, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_many_images_that_are_large_together_are_refused_before_one_is_decoded(signatures):
    """Each of them is within the limits of an image."""
    together = r"the images of this request have 784000000 pixels together; at most 100000000 are accepted"
    start = time.monotonic()
    with pytest.raises(tf.errors.InvalidArgumentError, match=together):
        answers(signatures["encoded"], image_bytes=tf.constant([one_bit_png(7000)] * 16))
    assert time.monotonic() - start < 5.0  # decoding them takes a minute
    ordinary(signatures)


@pytest.mark.slow
def test_pixels_of_a_request_are_limited_in_both_signatures():
    signatures = ServedModel(BlobFinder(), limits=Limits(8000, max_request_pixels=12_000)).signatures
    for run in (by_pixels, by_files):
        assert len(run(signatures, [image(60, 100), image(60, 100)])) == 2
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"12100 pixels together; at most 12000 are accepted"):
            run(signatures, [image(60, 100), image(61, 100)])
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 1 has 90 x 100 pixels"):
            run(signatures, [image(60, 100), image(90, 100)])


def test_limits_that_contradict_each_other_are_refused():
    assert Limits(8000).max_request_pixels == 16_000
    with pytest.raises(InputError, match="max_request_pixels: expected at least max_pixels, 8000, got 7999"):
        Limits(8000, max_request_pixels=7999)
    with pytest.raises(InputError, match="max_request_pixels: expected at least 1, got 0"):
        Limits(8000, max_request_pixels=0)


def test_images_are_compared_in_requests_within_the_limits():
    images = [image(60, 100)] * 3 + [image(10, 10)] * 6
    sizes = [len(batch) for batch in batches_of(images, Limits(8000, max_request_pixels=12_000))]
    assert sizes == [2, 4, 3]
    assert [len(batch) for batch in batches_of(images, Limits(8000, max_batch_size=1))] == [1] * 9
    assert batches_of([], Limits(8000)) == []


def test_hostile_pixels_are_refused_and_the_next_request_works(signatures):
    for size, shape, message in HOSTILE_PIXELS.values():
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answers(signatures["serving_default"], image=np.zeros(size, np.uint8), shape=np.array(shape, np.int32))
        ordinary(signatures)
    for kind in (np.float32, np.int32):
        with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
            answers(signatures["serving_default"], image=np.zeros((1, 64, 64, 3), kind), shape=[[64, 64]])
        ordinary(signatures)


WHOLE = tf.io.encode_jpeg(np.full((64, 64, 3), 90, np.uint8)).numpy()
HOSTILE_FILES = {
    "cut JPEG": ([WHOLE[:-20]], "(?i)jpeg"),
    "cut header": ([WHOLE[:12]], "(?i)jpeg"),
    "cut PNG": ([encode_png(image(64, 64))[:60]], "(?i)png"),
    "nothing": ([b""], "expected a JPEG or PNG file"),
    "a text": ([b"GET / HTTP/1.1"], "expected a JPEG or PNG file"),
    "PNG bomb": ([bomb_png()], "image 0 has 60000 x 60000 pixels"),
    "JPEG bomb": ([WHOLE, bomb_jpeg()], "image 1 has 60000 x 60000 pixels"),
    "negative PNG": ([bomb_png(2**31 + 5, 7)], "image 0 has -2147483643 x 7"),
    "1 x 1": ([encode_png(np.zeros((1, 1, 3), np.uint8))], "image 0 has 1 x 1"),
    "no image": (np.zeros(0, object), "expected 1 to 16 images"),
}


def test_hostile_files_are_refused_and_the_next_request_works(signatures):
    for files, message in HOSTILE_FILES.values():
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answers(signatures["encoded"], image_bytes=tf.constant(files, tf.string))
        ordinary(signatures)


@pytest.mark.slow
def test_limits_are_those_of_the_export():
    signatures = ServedModel(BlobFinder(), limits=Limits(8000, 40, 2)).signatures
    ordinary(signatures)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 40 and at most 8000"):
        by_pixels(signatures, [image(64, 39)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 8000"):
        by_files(signatures, [image(100, 81)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected 1 to 2 images"):
        by_files(signatures, [image(50, 50)] * 3)


@pytest.mark.slow
def test_versions_count_up_and_anything_else_is_refused(tmp_path):
    target = tmp_path / "deep" / "model"
    assert export_saved_model(BlobFinder(), target).name == "1"
    assert export_saved_model(BlobFinder(32), target, height=40, width=50, version=7, max_pixels=2000).name == "7"
    assert sorted(p.name for p in target.iterdir()) == ["1", "7", "batching.config", "models.config"]
    serve = tf.saved_model.load(str(target / "7")).signatures["serving_default"]
    assert serve.structured_input_signature[1]["image"].shape == [None, 40, 50, 3]
    with pytest.raises(ValueError, match="7: exists"):
        export_saved_model(BlobFinder(), target, version=7)


def test_other_files_are_not_touched(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match=r"precious: holds thesis.tex, expected nothing but versions"):
        export_saved_model(BlobFinder(), tmp_path / "precious")
    with pytest.raises(ValueError, match=r"thesis.tex: a file"):
        export_saved_model(BlobFinder(), tmp_path / "precious" / "thesis.tex")
    assert [p.name for p in (tmp_path / "precious").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"masks": "huge"}, "masks: expected one of small, packed, full"),
        ({"max_pixels": 0}, "max_pixels: expected at least 1"),
        ({"max_pixels": 99, "min_side": 10}, "max_pixels: expected at least 10 x 10"),
        ({"version": 0}, "version: expected at least 1"),
        ({"max_batch_size": 0}, "max_batch_size: expected at least 1"),
        ({"height": 100, "width": 50, "max_pixels": 4999}, "100 x 50 is beyond the limits"),
        ({"images": [image(9, 9), image(1, 9)]}, "image 1: 1 x 9 pixels are beyond the limits"),
        ({"images": [np.zeros((9, 9, 3), np.float32)]}, "image 0: expected uint8"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        export_saved_model(BlobFinder(), tmp_path / "model", **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limits, size",
    [
        (Limits(50_000_000), (None, None)),
        (Limits(8000, 40), (None, None)),
        (Limits(100, 10), (None, None)),
        (Limits(1000, 10), (90, None)),
        (Limits(4, 2), (None, 2)),
        (Limits(50_000_000, 500), (None, None)),
        (Limits(50_000_000), (40, 700)),
    ],
)
def test_noise_lies_within_the_limits(limits, size):
    images = noise_within(BlobFinder(), limits, *size)
    assert len(images) == 3
    for pixels in images:
        assert limits.allow(*pixels.shape[:2])
        assert all(wanted in (None, side) for wanted, side in zip(size, pixels.shape, strict=False))
    assert (images[1] == 127).all()


def test_what_warms_up_is_of_both_signatures_and_small():
    small, large = np.zeros((10, 10, 3), np.uint8), np.zeros((4000, 3000, 3), np.uint8)
    requests = [
        (signature, {"of": image}, [image])
        for signature in ("encoded", "serving_default")
        for image in (large, small, small, small, small, small)
    ]
    chosen = to_warm_up(requests)
    assert [signature for signature, _ in chosen] == ["serving_default"] * 4 + ["encoded"] * 4
    assert all(inputs["of"] is small for _, inputs in chosen)
    assert len(to_warm_up(requests[:1])) == 1


def test_a_failed_export_leaves_nothing(tmp_path):
    class Broken(BlobFinder):
        def call(self, batch, training=None):
            raise RuntimeError("cannot be traced")

    with pytest.raises(RuntimeError, match="cannot be traced"):
        export_saved_model(Broken(), tmp_path / "deep" / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_that_answers_otherwise_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    import mrcnn.export.served as component

    resize = component.resize_image

    def darker(pixels, *arguments):
        return resize(pixels, *arguments) // 2

    images = [image(64, 64, (0, 5, 5, 9, 9))]
    kept = export_saved_model(BlobFinder(), tmp_path / "model", images=images)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(component, "resize_image", darker)
    with pytest.raises(ExportError, match=r"differ too much .* unmatched 1 > 0.01"):
        export_saved_model(BlobFinder(), tmp_path / "model", images=images)
    assert sorted(tmp_path.rglob("*")) == before
    lenient = dataclasses.replace(ACCEPTED, unmatched=1.0)
    assert export_saved_model(BlobFinder(), tmp_path / "model", images=images, max_difference=lenient) != kept


@pytest.mark.slow
def test_a_box_that_is_no_number_is_no_detection_as_in_python():
    class Diverged(BlobFinder):
        def call(self, batch, training=None):
            result = super().call(batch, training)
            return {**result, "boxes": result["boxes"] * tf.constant([1.0, 1.0, float("nan"), 1.0])}

    images = [image(64, 64, (0, 5, 5, 9, 9))]
    model = Diverged()
    assert len(detect(model, images, score_threshold=None)[0]) == 0
    assert len(by_pixels(ServedModel(model, limits=Limits(50_000)).signatures, images)[0]) == 0
