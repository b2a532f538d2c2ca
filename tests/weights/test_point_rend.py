"""PointRend's checkpoints: names of both times, sizes that follow from the shapes, layouts."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.heads.point_rend import PointRendMaskHeadConfig
from mrcnn.weights import detectron2
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError
from tests.reference.state_dicts import Shape, golden_shapes

NAME = "d2_pointrend_r50_fpn"
HEAD = "roi_heads.mask_head."


def early(name: str) -> str:
    """The name as files had it before July 2020."""
    name = name.replace(f"{HEAD}coarse_head.fc", "roi_heads.mask_coarse_head.coarse_mask_fc")
    return name.replace(f"{HEAD}coarse_head.", "roi_heads.mask_coarse_head.").replace(
        f"{HEAD}point_head.", "roi_heads.mask_point_head."
    )


@pytest.mark.parametrize("rename", [str, early])
def test_every_array_becomes_one_of_ours(rename):
    arrays = {rename(name): shape for name, shape in golden_shapes(NAME).items()}
    network = detectron2.describe(arrays)
    assert str(network) == "detectron2 R-50-FPN, 80 classes, box + PointRend mask"
    ours = detectron2.to_ours(arrays, network)
    assert ours.unused == ()
    (head,) = PROFILES[network.family].model_config(network.overrides).heads
    expected = PointRendMaskHeadConfig(pool=head.pool, target="project")
    assert head == expected and (head.pool.size, head.pool.levels) == (14, ("p2",))


def test_other_sizes_follow_from_the_shapes():
    def other(name: str, shape: Shape) -> Shape:
        sizes = {
            "coarse_head.reduce_channel_dim_conv.weight": (128, 256, 1, 1),
            "coarse_head.reduce_spatial_dim_conv.weight": (128, 128, 2, 2),
            "coarse_head.fc1.weight": (1024, 128 * 16),
            "coarse_head.prediction.weight": (80 * 25, 1024),
            "coarse_head.prediction.bias": (80 * 25,),
            "point_head.fc2.weight": (256, 256, 1),
            "point_head.fc3.weight": (256, 256, 1),
            "point_head.predictor.weight": (80, 256, 1),
        }
        return Shape(*sizes[name.removeprefix(HEAD)]) if name.removeprefix(HEAD) in sizes else shape

    arrays = golden_shapes(NAME) | {
        f"{HEAD}coarse_head.reduce_channel_dim_conv.{leaf}": Shape(128) for leaf in ("weight", "bias")
    }
    arrays = {name: other(name, shape) for name, shape in arrays.items()}
    network = detectron2.describe(arrays)
    (head,) = PROFILES[network.family].model_config(network.overrides).heads
    assert (head.conv_dim, head.coarse_side, head.pool.size, head.coarse_each_layer) == (128, 5, 8, False)
    ours = detectron2.to_ours(arrays, network)
    assert ours["mask_head/coarse_channels/kernel"].shape == (1, 1, 256, 128)
    assert ours["mask_head/point_fc2/kernel"].shape == (256, 256)


def test_layouts():
    arrays = dict(golden_shapes(NAME))
    prediction, fc1 = f"{HEAD}coarse_head.prediction.weight", f"{HEAD}coarse_head.fc1.weight"
    predicted = np.arange(3920 * 1024, dtype=np.float32).reshape(80, 7, 7, 1024)
    dense = np.arange(1024 * 12544, dtype=np.float32).reshape(1024, 256, 7, 7)
    points = np.arange(256 * 336, dtype=np.float32).reshape(256, 336, 1)
    arrays |= {prediction: predicted.reshape(3920, 1024), fc1: dense.reshape(1024, -1)}
    arrays |= {f"{HEAD}point_head.fc1.weight": points}
    ours = detectron2.to_ours(arrays, detectron2.describe(arrays))
    kernel = np.asarray(ours["mask_head/coarse_logits/kernel"]).reshape(1024, 7, 7, 80)
    assert kernel[5, 2, 3, 70] == predicted[70, 2, 3, 5]
    kernel = np.asarray(ours["mask_head/coarse_fc1/kernel"]).reshape(7, 7, 256, 1024)
    assert kernel[2, 3, 200, 9] == dense[9, 200, 2, 3]
    assert np.asarray(ours["mask_head/point_fc1/kernel"])[300, 7] == points[7, 300, 0]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (f"{HEAD}parameter_head.fc1.weight", (1,), "implicit PointRend is not supported"),
        ("sem_seg_head.point_head.fc1.weight", (1,), "PointRend for semantic segmentation"),
        (f"{HEAD}point_head.predictor.weight", (1, 336, 1), "1 masks at each point, expected 80"),
        (f"{HEAD}point_head.fc1.weight", (256, 592, 1), "512 channels that the points see of the maps, expected 256"),
        (f"{HEAD}coarse_head.prediction.weight", (3999, 1024), "3999 values of the coarse mask, expected 3920"),
    ],
)
def test_other_heads_are_refused(name, shape, message):
    with pytest.raises(WeightsError, match=message):
        detectron2.describe(golden_shapes(NAME) | {name: Shape(*shape)})
