"""Every format to export to, held against the Python model."""

from __future__ import annotations

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export import onnx, openvino
from mrcnn.export.check import check_answers
from mrcnn.export.compare import Difference, compare
from mrcnn.export.errors import ExportError
from mrcnn.export.portable import PortableModel, describe, read_description
from mrcnn.inference import detect
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.tiny_model import blank_image, noise_images, tiny_config

FORMATS = {
    "onnx": (onnx.export_onnx, onnx.load_onnx, ".onnx"),
    "openvino": (openvino.export_openvino, openvino.load_openvino, ".xml"),
}


@pytest.fixture(scope="module", params=FORMATS)
def exported(request, exported_file):
    path = exported_file(request.param)
    return request.param, path, FORMATS[request.param][1](path)


def inputs(height=96, width=128, content=(96, 120)):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (1, height, width, 3)).astype(np.uint8), np.array([content], np.int32)


def test_it_answers_as_the_model(model, exported):
    _, _, loaded = exported
    images = noise_images(6)
    expected = detect(model, images, score_threshold=None)
    assert sum(map(len, expected)) > 10
    result = detect(loaded, images, batch_size=2, score_threshold=None)
    difference = compare(expected, result)
    assert difference.unmatched == 0.0
    assert difference.scores < 1e-4
    assert difference.boxes < 1e-2
    assert difference.masks < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_keypoints_are_those_of_the_model(name, tmp_path):
    export, load, suffix = FORMATS[name]
    config = tiny_config()
    head = KeypointHeadConfig(num_joints=3, conv_dims=(16,))
    keras.utils.set_random_seed(0)
    with_joints = MaskRCNN(dataclasses.replace(config, heads=(*config.heads, head)), ["thing", "other"])
    images = noise_images(2)
    path = export(with_joints, tmp_path / f"model{suffix}", images=images)
    expected = detect(with_joints, images, score_threshold=None)
    difference = compare(expected, detect(load(path), images, score_threshold=None))
    assert difference.detections > 10 and difference.unmatched == 0.0
    assert difference.keypoints == 0.0


def test_nothing_found_is_zero_rows_of_the_right_rank(model, exported):
    _, _, loaded = exported
    result = detect(loaded, blank_image(100, 120), score_threshold=None)[0]
    assert result.boxes.shape == (0, 4)
    assert np.asarray(result.masks).shape == (0, 100, 120)
    image, content = inputs()
    result = loaded.run(np.full_like(image, 127), content)
    side = model.heads[0].mask_side
    assert {name: value.shape for name, value in result.items()} == {
        "boxes": (0, 4),
        "class_ids": (0,),
        "scores": (0,),
        "masks": (0, side, side),
    }


def test_an_image_with_objects_after_one_without(exported):
    _, _, loaded = exported
    image, content = inputs()
    first = loaded.run(image, content)
    assert len(loaded.run(np.full_like(image, 127), content)["boxes"]) == 0
    again = loaded.run(image, content)
    assert len(first["boxes"]) > 0
    for name, value in first.items():
        assert np.array_equal(value, again[name])
    assert first["class_ids"].dtype == np.int32
    assert (np.diff(first["scores"]) <= 0).all()


def test_bad_input_is_refused_and_the_next_works(exported):
    _, _, loaded = exported
    image, content = inputs()
    expected = loaded.run(image, content)
    for bad, shape, message in (
        (image.astype(np.float32), content, "image: expected uint8"),
        (image[0], content, "image: expected uint8 of shape"),
        (np.concatenate([image, image]), content, "image: expected uint8 of shape"),
        (image[:, :0, :0], content, "multiples of 32, got 0 x 0"),
        (image[:, :1, :1], content, "multiples of 32, got 1 x 1"),
        (image[..., :2], content, "image: expected"),
        (image, np.array([[97, 10]], np.int32), "expected 1 to 96 and 1 to 128"),
        (image, np.array([[0, 10]], np.int32), "expected 1 to 96"),
        (image, np.array([96.0, 128.0]), "content_shape: expected integers"),
    ):
        with pytest.raises(ValueError, match=message):
            loaded.run(bad, shape)
    with pytest.raises(ValueError, match="image 0: expected uint8"):
        detect(loaded, [np.zeros((0, 0, 3), np.uint8)])
    assert np.array_equal(loaded.run(image, content)["boxes"], expected["boxes"])


def test_what_is_no_such_file_is_named(exported, tmp_path):
    name, path, _ = exported
    load = FORMATS[name][1]
    with pytest.raises(ExportError, match="absent"):
        load(tmp_path / f"absent{path.suffix}")
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    if name == "openvino":
        cut.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ExportError, match="cut"):
        load(cut)


def test_names_of_classes_and_config_travel_along(model, exported):
    _, _, loaded = exported
    assert loaded.class_names == ("thing", "other")
    assert loaded.category_ids == (3, 8)
    assert loaded.config == model.config
    with pytest.raises(ValueError, match="cannot be trained"):
        loaded({}, training=True)


def test_a_missing_package_is_named(model, exported, monkeypatch, tmp_path):
    name, path, _ = exported
    runtime = {"onnx": "onnxruntime", "openvino": "openvino"}[name]
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(ExportError, match=rf"{runtime} cannot be imported .*pip install .mrcnn-keras\[{name}\]"):
        FORMATS[name][1](path)


@pytest.mark.parametrize("name", FORMATS)
def test_another_suffix_is_refused(model, name, tmp_path):
    with pytest.raises(ValueError, match=f"expected a file name that ends in {FORMATS[name][2]}"):
        FORMATS[name][0](model, tmp_path / "model.pt")


def test_other_ways_to_pool_are_refused(model, tmp_path):
    pool = dataclasses.replace(model.config.box_head.pool, op="pool")
    other = MaskRCNN(dataclasses.replace(model.config, box_head=dataclasses.replace(model.config.box_head, pool=pool)))
    with pytest.raises(ExportError, match='pools RoIs by "pool" can be exported as a SavedModel only'):
        onnx.export_onnx(other, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_answers_too_far_apart_are_refused(model):
    def run(image, content_shape):
        return {
            "boxes": np.array([[0, 0, 5, 5]], np.float32),
            "class_ids": np.ones(1, np.int32),
            "scores": np.ones(1, np.float32),
            "masks": np.ones((1, 28, 28), np.float32),
        }

    wrong = PortableModel(describe(model), run, "wrong")
    with pytest.raises(ExportError, match="not exported, its detections differ too much from the model's: unmatched"):
        check_answers(model, wrong, noise_images(2), Difference(unmatched=0.01))
    assert check_answers(wrong, wrong, noise_images(2), Difference()).detections == 2


@pytest.mark.parametrize(
    "text, cause",
    [
        (None, "not written by mrcnn, it holds no description of its model"),
        ("", "not written by mrcnn, it holds no description of its model"),
        ("{", "description of its model cannot be used: JSONDecodeError: Expecting property name"),
        ("[]", "cannot be used: TypeError: list indices must be integers"),
        ("{}", "cannot be used: KeyError: 'config'"),
        ('{"config": 3, "class_names": [], "category_ids": []}', "cannot be used: MaskRCNNConfig: expected a mapping"),
        ('{"config": {"backbone": {"kind": "NoSuchConfig"}}}', "backbone.kind: 'NoSuchConfig' is not one of"),
        ('{"config": {"depth": 3}}', "cannot be used: MaskRCNNConfig has no field 'depth'"),
        ('{"config": {}, "class_names": ["a"], "category_ids": ["x"]}', "invalid literal for int"),
        ("[" * 100_000, "cannot be used: RecursionError"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused_with_the_cause(text, cause):
    with pytest.raises(ExportError) as caught:
        PortableModel(text, lambda *_: {}, "file.onnx")
    assert str(caught.value).startswith("file.onnx: ")
    assert cause in str(caught.value)


def test_a_description_of_an_earlier_version_is_migrated(model):
    stored = json.loads(describe(model))
    stored["config"]["input"]["padding"] = "centre"
    assert read_description(json.dumps(stored), "old.onnx").config.input.padding == "center"


def test_a_batch_is_padded_to_its_fullest_image(model):
    def run(image, content_shape):
        num = int(image[0, 0, 0, 0])
        return {
            "boxes": np.tile(np.array([[1, 2, 3, 4]], np.float32), (num, 1)),
            "class_ids": np.full(num, 2, np.int32),
            "scores": np.full(num, 0.5, np.float32),
            "masks": np.ones((num, 28, 28), np.float32),
        }

    loaded = PortableModel(describe(model), run, "here")
    image = np.zeros((3, 32, 64, 3), np.uint8)
    image[:, 0, 0, 0] = [2, 0, 1]
    batch = {"image": tf.constant(image), "content_shape": tf.constant([[32, 64]] * 3)}
    for result in (loaded(batch), tf.function(loaded)(batch)):
        assert result["valid"].numpy().tolist() == [[True, True], [False, False], [True, False]]
        assert result["boxes"].shape == (3, 2, 4)
        assert result["masks"].shape == (3, 2, 28, 28)
        assert result["class_ids"].numpy().tolist() == [[2, 2], [0, 0], [2, 0]]


@pytest.mark.slow
def test_what_openvino_cannot_run_is_refused_and_leaves_nothing(model, tmp_path, monkeypatch):
    pytest.importorskip("openvino")

    def run(image, content_shape):
        raise RuntimeError("K (1000) exceeds the axis dimension (663)")

    monkeypatch.setattr(openvino, "load_openvino", lambda path: PortableModel(describe(model), run, path))
    with pytest.raises(ExportError, match=r"OpenVINO .* cannot run it: .*K \(1000\) exceeds"):
        openvino.export_openvino(model, tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_openvino_counts_the_anchors_of_the_coarsest_level(model, tmp_path):
    """It once took its sides for those of the level before, of a ResNet, whose sides it knows more about."""
    pytest.importorskip("openvino")
    rpn = dataclasses.replace(model.config.rpn, pre_nms_test=30)  # of 18 anchors on p6, 45 on p5
    resnet = MaskRCNN(dataclasses.replace(model.config, backbone=ResNetConfig(), rpn=rpn))
    path = openvino.export_openvino(resnet, tmp_path / "model.xml")
    (result,) = detect(openvino.load_openvino(path), noise_images(1), score_threshold=None)
    assert result.scores.ndim == 1


def test_erfc_becomes_erf_in_onnx():
    convert = pytest.importorskip("tf2onnx.convert")
    runtime = pytest.importorskip("onnxruntime")
    function = tf.function(tf.math.erfc).get_concrete_function(tf.TensorSpec([None], name="x"))
    written, _ = convert._convert_common(
        function.graph.as_graph_def(),
        input_names=["x:0"],
        output_names=[function.outputs[0].name],
        opset=onnx.OPSET,
        custom_op_handlers={"Erfc": (onnx._erfc, [])},
    )
    session = runtime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    (values,) = session.run(None, {"x:0": x})
    np.testing.assert_allclose(values, tf.math.erfc(x), atol=1e-6)
