"""Every family of networks leaves the package: as a SavedModel, and in the formats of other runtimes."""

from __future__ import annotations

import pytest
import tensorflow as tf

import mrcnn
from mrcnn.export import export_saved_model
from mrcnn.export.compare import compare
from mrcnn.export.served_check import pixel_inputs, served_instances
from tests.export.conftest import FORMATS
from tests.export.test_saved_model import answers, expect_same
from tests.families import family_config, family_model
from tests.tiny_model import noise_images

LOADERS = {"onnx": mrcnn.load_onnx, "openvino": mrcnn.load_openvino}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vit", "convnext", "regnet"])
def test_a_saved_model_answers_as_the_model(backbone, tmp_path):
    """With a cascade, PointRend's masks and joints; that it is made of stock operations is checked as it is written."""
    model = family_model(family_config(backbone, "cascade", ("points", "joints")))
    images = noise_images(2, sides=(56, 65))
    path = export_saved_model(model, tmp_path / "model", images=images)
    outputs = answers(tf.saved_model.load(str(path)).signatures["serving_default"], **pixel_inputs(images))
    served = served_instances(outputs, [p.shape[:2] for p in images], declared=model.config.outputs)
    results = mrcnn.detect(model, images, score_threshold=None)
    assert all(len(result) for result in results)
    for there, here in zip(served, results, strict=True):
        expect_same(there, here)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone", "heads"),
    [
        ("onnx", "regnet", "points"),
        ("openvino", "regnet", "points"),
    ],
)
def test_a_file_of_another_runtime_answers_as_the_model(name, backbone, heads, tmp_path):
    write, file, packages = FORMATS[name]
    for package in packages:
        pytest.importorskip(package)
    model = family_model(family_config(backbone, heads=(heads,)))
    images = noise_images(2, sides=(56, 65))
    path = write(model, tmp_path / file, images=images)
    expected = mrcnn.detect(model, images, score_threshold=None)
    difference = compare(expected, mrcnn.detect(LOADERS[name](path), images, score_threshold=None))
    assert difference.detections and difference.unmatched == 0.0
    assert difference.scores < 1e-4 and difference.boxes < 1e-2 and difference.masks < 1e-3
