"""MViTv2 of a classifier, written by hand with drawn arrays, into a backbone."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import WeightsError, load_imagenet
from mrcnn.weights.pretrained import UnknownNetworkError, load_pretrained
from tests.reference import detectron2_states as states
from tests.reference.containers import write_torch_zip
from tests.reference.drawn_weights import draw

SMALL = MViTConfig(depths=(1, 1, 2, 1), width=8, grid=16, window=8)
START = "backbone.bottom_up."


def write(folder) -> tuple:
    """The file, and what is in it: a detector's backbone without the norms behind stages, and a classifier's end."""
    shapes = states.mvit(SMALL.depths, SMALL.width, SMALL.num_heads, SMALL.grid)
    own = {k.removeprefix(START): v.shape for k, v in shapes.items() if k.startswith(START)}
    own = {k: shape for k, shape in own.items() if not re.match(r"scale\d_norm", k)}
    own |= {"norm.weight": (64,), "head.projection.weight": (10, 64)}
    state = {name: draw(name, shape) for name, shape in own.items()}
    write_torch_zip(folder / "mvit.pyth", {f"model_state.{name}": array for name, array in state.items()})
    return folder / "mvit.pyth", state


@pytest.fixture(scope="module")
def backbone():
    return SMALL.build()


def test_arrays_go_where_they_belong(tmp_path, backbone):
    path, state = write(tmp_path)
    report = load_imagenet(backbone, SMALL, path)
    values = {v.path: v.numpy() for v in backbone.weights}
    np.testing.assert_array_equal(values["stage3_block1_skip/kernel"], state["blocks.1.proj.weight"].T)
    np.testing.assert_array_equal(values["stage4_block2_attention/rows"], state["blocks.3.attn.rel_pos_h"])
    pooled = state["blocks.0.attn.pool_k.weight"]  # [head, 1, 3, 3]
    kernel = values["stage2_block1_attention/keys_depthwise/kernel"]
    np.testing.assert_array_equal(kernel.reshape(3, 3, -1), pooled[:, 0].transpose(1, 2, 0))
    assert set(report.unused) == {"norm.weight", "head.projection.weight"} and not report.missing


def test_as_a_detector_it_is_named_a_backbone(tmp_path):
    with pytest.raises(UnknownNetworkError, match="an MViTv2 without a detector; as a backbone, a model with MViTConf"):
        load_pretrained(write(tmp_path)[0])


def test_other_networks_are_refused(tmp_path, backbone):
    deeper = MViTConfig(depths=(1, 1, 3, 1), width=8)
    with pytest.raises(WeightsError, match=r"5 blocks from 8 channels on, while backbone\.depths is \(1, 1, 3, 1\)"):
        load_imagenet(backbone, deeper, write(tmp_path)[0])
    write_torch_zip(tmp_path / "other.pth", {"conv1.weight": np.zeros((2, 3, 4, 4), np.float32)})
    with pytest.raises(WeightsError, match=r"expected an MViTv2 .* it has conv1\.weight"):
        load_imagenet(backbone, SMALL, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="detectron2/imagenet_mvitv2_t"):
        load_imagenet(backbone, SMALL)


def test_other_pixels_are_warned_of(tmp_path, backbone, caplog):
    config = MViTConfig(**{**vars(SMALL), "pixel_norm": PixelNorm(bgr=True)})
    load_imagenet(backbone, config, write(tmp_path)[0])
    assert "other pixels" in caplog.text
