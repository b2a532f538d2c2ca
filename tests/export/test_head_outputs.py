"""Outputs that heads declare, on their way through exports."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.export.canvas import canvas_function
from mrcnn.export.compare import compare
from mrcnn.export.portable import PortableModel, describe, portable_graph, stand_in
from mrcnn.export.served_check import served_instances
from mrcnn.inference import detect, prepare_image
from mrcnn.inference.prepare import make_batch
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.variables import named_variables
from tests.modeling.heads import ProbeHeadConfig
from tests.tiny_model import noise_images, tiny_model


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    small = tiny_model()
    fine = MaskHeadConfig(
        name="fine",
        pool=RoiPoolConfig(size=4, end_offset=-1.0),
        conv_dims=(8,),
        deconv_dim=8,
        paste="padded_integer",
        activation="softmax",
    )
    flat = MLPMaskHeadConfig(name="flat", pool=RoiPoolConfig(size=2), fc_dims=(8,), mask_size=6)
    probe = ProbeHeadConfig(pool=RoiPoolConfig(size=2))
    joints = KeypointHeadConfig(pool=RoiPoolConfig(size=2), conv_dims=(4, 4), num_joints=2, non_local=NonLocalConfig())
    larger = MaskRCNN(
        dataclasses.replace(small.config, heads=(*small.config.heads, fine, flat, joints, probe)), small.class_names
    )
    own = named_variables(larger)
    for path, variable in named_variables(small).items():
        own[path].assign(variable)
    larger.heads[3].non_local[0].out.norm.gamma.assign([1.0] * 4)  # new, it would change nothing
    return larger


def test_a_served_model_gives_what_detect_gives(model: MaskRCNN) -> None:
    (pixels,) = noise_images(1, seed=8)
    (expected,) = detect(model, pixels, score_threshold=None)
    batch = make_batch([prepare_image(pixels, 0, model.config.input)])
    given = {name: batch[name] for name in ("image", "original_shape", "content_shape")}
    outputs = {name: value.numpy() for name, value in canvas_function(model)(**given).items()}
    assert "secret" not in outputs and {"mask_boxes", "fine_mask_boxes"} <= outputs.keys()
    assert (outputs["mask_boxes"] - outputs["fine_mask_boxes"])[outputs["valid"]].mean(0).tolist() == [0, 0, 1, 1]
    outputs["num_detections"] = outputs.pop("valid").sum(1)
    (result,) = served_instances(outputs, [pixels.shape[:2]], declared=model.config.outputs)
    assert [output.name for output in result.outputs] == [
        "fine_masks",
        "flat_masks",
        "quality",
        "kind",
        "heat",
        "middle",
    ]
    difference = compare([expected], [result])
    assert not difference.beyond(dataclasses.replace(difference, unmatched=0, scores=1e-5, boxes=1e-3, extra=1e-4))
    assert difference.masks < 1e-3 and difference.detections > 2
    result.extra["quality"] = result.extra["quality"] + 0.1
    assert compare([expected], [result]).extra > 0.05


@pytest.mark.slow
def test_a_portable_model_gives_what_detect_gives(model: MaskRCNN) -> None:
    (pixels,) = noise_images(1, seed=8)
    graph = portable_graph(model, stand_in)
    assert sorted(graph.outputs) == [
        *(
            "boxes",
            "class_ids",
            "fine_masks",
            "flat_masks",
            "heat",
            "keypoints",
            "kind",
            "masks",
            "middle",
            "quality",
            "scores",
        )
    ]

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        result = model({"image": image, "content_shape": content_shape}, training=False)
        return {name: result[name].numpy()[0][result["valid"][0]] for name in graph.outputs}

    loaded = PortableModel(describe(model), run, "here")
    (result,) = detect(loaded, pixels)
    (expected,) = detect(model, pixels)
    assert list(result.extra) == ["fine_masks", "flat_masks", "quality", "kind", "heat", "middle"]
    assert result.extra["kind"].dtype == np.int32
    np.testing.assert_allclose(result.extra["middle"], expected.extra["middle"], atol=1e-3)
    difference = compare([expected], [result])
    assert difference.extra < 1e-4 and difference.masks < 1e-3
