"""What is of OpenVINO's own in its files: operators in place of sums and products."""

from __future__ import annotations

import collections
import dataclasses

import keras
import numpy as np
import pytest

from mrcnn.export.compare import compare
from mrcnn.export.openvino import export_openvino, load_openvino
from mrcnn.inference import detect
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.tiny_model import noise_images, tiny_config

openvino = pytest.importorskip("openvino", reason="pip install 'mrcnn-keras[openvino]'")


def with_group_norm() -> MaskRCNN:
    """The tiny model with group norm in its pyramid, over 12 channels, and in both heads."""
    config = tiny_config()
    pyramid = dataclasses.replace(config.neck, channels=12, norm="gn", epsilon=1e-3)
    box = dataclasses.replace(config.box_head, conv_dims=(8,), conv_norm="gn")
    mask = dataclasses.replace(config.heads[0], conv_norm="gn")
    keras.utils.set_random_seed(0)
    model = MaskRCNN(dataclasses.replace(config, neck=pyramid, box_head=box, heads=(mask,)), ["thing", "other"])
    kernel = model.box_head.class_logits.kernel
    kernel.assign(kernel * 10.0)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("norm/gamma", "norm/beta")) and "backbone" not in weight.path:
            weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    return model


def test_group_norm_is_one_operator(tmp_path):
    model, images = with_group_norm(), noise_images(4)
    path = export_openvino(model, tmp_path / "model.xml", images=images)
    types = collections.Counter(node.get_type_name() for node in openvino.Core().read_model(str(path)).get_ops())
    assert types["GroupNormalization"] == 8 + 1 + 1  # laterals and outputs of the pyramid, box head, mask head
    difference = compare(
        detect(model, images, score_threshold=None), detect(load_openvino(path), images, score_threshold=None)
    )
    assert difference.detections > 10 and difference.unmatched == 0.0
    assert difference.scores < 1e-4
    assert difference.boxes < 1e-2
    assert difference.masks < 1e-3


@pytest.mark.slow
def test_group_norm_of_no_rois(tmp_path):
    model = with_group_norm()
    model.box_head.class_logits.bias.assign([100.0, 0.0, 0.0])
    loaded = load_openvino(export_openvino(model, tmp_path / "model.xml", images=noise_images(1)))
    (result,) = detect(loaded, noise_images(1), score_threshold=None)
    assert len(result) == 0 and np.asarray(result.masks).shape[0] == 0
