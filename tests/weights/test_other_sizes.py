"""Networks of sizes that nobody published: config and variables follow from names and shapes alone."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.weights import detectron2
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import assign, named_variables
from tests.reference import detectron2_states as states
from tests.reference.drawn_weights import draw
from tests.weights.test_regnet import state as regnet_state

CLASSES = 5


def network_of(backbone: dict, mask: dict | None = None, **head: object) -> dict:
    mask = states.mask_head(CLASSES) if mask is None else mask
    return backbone | states.heads(CLASSES, mask, **head)


CASES = {
    "vit": (
        network_of(states.vit(8, 48, 3, 7, 20, whole=(1, 4, 7), positions=37, ratio=2), num_rpn_convs=2),
        {
            "depth": 8,
            "width": 48,
            "num_heads": 3,
            "window": 7,
            "grid": 20,
            "global_blocks": (1, 4, 7),
            "position_grid": 6,
            "mlp_ratio": 2,
        },
    ),
    "vit without absolute positions": (
        network_of(states.vit(3, 32, 1, 5, 9, whole=(0,), positions=0)),
        {"depth": 3, "num_heads": 1, "window": 5, "global_blocks": (0,), "position_grid": 0},
    ),
    "swin": (
        network_of(states.swin((1, 3, 2, 1), (1, 2, 4, 4), 16, 5, ratio=3)),
        {"depths": (1, 3, 2, 1), "num_heads": (1, 2, 4, 4), "width": 16, "window": 5, "mlp_ratio": 3},
    ),
    "mvit": (
        network_of(states.mvit((2, 1, 3, 2), 24, 2, 64, ratio=2)),
        {"depths": (2, 1, 3, 2), "width": 24, "num_heads": 2, "grid": 64, "mlp_ratio": 2},
    ),
    "points": (
        network_of(states.mvit((1, 1, 1, 1), 8, 1, 56), states.point_rend(CLASSES, 8, (20, 14, 10), 5, 6, (9, 7))),
        {"depths": (1, 1, 1, 1), "width": 8},
    ),
    "points that see the coarse mask once": (
        network_of(
            states.swin((1, 1, 1, 1), (1, 1, 1, 1), 8, 2), states.point_rend(CLASSES, 24, (20,), 4, 8, (9, 7, 6), False)
        ),
        {"window": 2},
    ),
}


def config_of(arrays: dict) -> MaskRCNNConfig:
    network = detectron2.describe(arrays)
    return PROFILES[network.family].model_config(network.overrides)


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_read_off_names_and_shapes(name):
    arrays, expected = CASES[name]
    config = config_of(arrays)
    assert {field: getattr(config.backbone, field) for field in expected} == expected
    assert (config.num_classes, config.neck.channels, config.box_head.fc_dims) == (CLASSES, states.PYRAMID, (24, 12))
    assert detectron2.to_ours(arrays, detectron2.describe(arrays)).unused == ()


def test_points_of_other_sizes():
    head = config_of(CASES["points"][0]).heads[0]
    assert (head.conv_dim, head.fc_dims, head.coarse_side, head.pool.size) == (8, (20, 14, 10), 5, 6)
    assert (head.point_fc_dims, head.coarse_each_layer) == ((9, 7), True)
    once = config_of(CASES["points that see the coarse mask once"][0]).heads[0]
    assert (once.point_fc_dims, once.coarse_each_layer, once.conv_dim) == ((9, 7, 6), False, 24)


def test_a_mask_head_of_other_sizes():
    head = config_of(CASES["mvit"][0]).heads[0]
    assert (head.conv_dims, head.deconv_dim) == ((8, 6), 10)


REGNETS = {
    "x": RegNetConfig(
        depths=(1, 2, 1, 1), widths=(8, 24, 40, 56), group_widths=(4, 8, 8, 14), stem_width=12, norm="sync_bn"
    ),
    "y": RegNetConfig(
        depths=(1, 1, 3, 1), widths=(16, 32, 48, 96), group_widths=(8, 16, 6, 24), squeeze=0.5, norm="sync_bn"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *(f"regnet{kind}" for kind in REGNETS)])
def test_every_array_fits_the_model_that_is_built(name):
    """Drawn arrays become the variables of the model, all of them, and no other."""
    arrays = regnet_state(REGNETS[name[-1]]) if name.startswith("regnet") else CASES[name][0]
    drawn = {key: draw(key, shape.shape) for key, shape in arrays.items()}
    network = detectron2.describe(drawn)
    model = MaskRCNN(PROFILES[network.family].model_config(network.overrides))
    report = assign(named_variables(model), detectron2.to_ours(drawn, network), name, strict=True)
    assert report.is_complete and not report.unused
    if name.startswith("regnet"):
        assert model.config.backbone.widths == REGNETS[name[-1]].widths
        return
    image = np.zeros((1, 64, 96, 3), np.float32)  # no multiple of the windows, nor of their grids
    assert all(np.isfinite(np.asarray(x)).all() for x in model.neck(model.backbone(image)).values())
