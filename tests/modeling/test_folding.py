from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.modeling.folding import fold_batch_norm
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from tests.golden.case import input_batch
from tests.tiny_model import noise_images, tiny_model

JOINTS = KeypointHeadConfig(pool=RoiPoolConfig(size=2), conv_dims=(4, 4), num_joints=2, non_local=NonLocalConfig())


def build(backbone: str, mask: str) -> MaskRCNN:
    """A tiny model whose norms, weights and statistics are all drawn."""
    config = tiny_model().config
    config = dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, norm=backbone),
        neck=dataclasses.replace(config.neck, norm="gn"),
        heads=(dataclasses.replace(config.heads[0], conv_norm=mask), JOINTS),
    )
    model = MaskRCNN(config, ["thing", "other"], [3, 8], name="tiny")
    rng = np.random.default_rng(0)
    for variable in model.variables:
        leaf = variable.path.split("/")[-1]
        if leaf in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.7, 1.4, variable.shape))
        elif leaf in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


@pytest.mark.parametrize("backbone, mask", [("frozen_bn", "none"), ("bn", "bn")])
def test_the_folded_model_says_the_same(backbone, mask):
    model = build(backbone, mask)
    folded = fold_batch_norm(model)
    assert (folded.name, folded.class_names, folded.category_ids) == ("tiny", ("thing", "other"), (3, 8))
    kinds = [layer.norm_kind for layer in folded._flatten_layers() if isinstance(layer, ConvNorm)]
    assert set(kinds) == {"none", "gn"}
    batch = input_batch(noise_images(1)[0], model.config.input)
    ours, theirs = (m(batch, training=False) for m in (folded, model))
    assert np.asarray(theirs["valid"]).sum() > 3
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-3, err_msg=name)


def test_the_folded_model_has_weights_of_its_own_and_fewer():
    model = build("bn", "none")
    folded = fold_batch_norm(model)
    assert folded.count_params() < model.count_params()
    before = [np.array(v) for v in folded.variables]
    for variable in model.variables:
        variable.assign(variable * 0)
    assert all(np.array_equal(a, b) for a, b in zip(before, folded.variables, strict=True))


@pytest.mark.slow
def test_folding_what_has_no_norm_copies():
    folded = fold_batch_norm(build("bn", "none"))
    again = fold_batch_norm(folded)
    assert again.config == folded.config
    assert all(np.array_equal(a, b) for a, b in zip(folded.variables, again.variables, strict=True))
