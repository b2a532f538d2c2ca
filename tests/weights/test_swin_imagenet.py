"""Classifiers of three programs, written by hand with random arrays, into a backbone."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import safetensors.numpy

from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import WeightsError, load_imagenet
from mrcnn.weights.pretrained import UnknownNetworkError, load_pretrained
from tests.reference.containers import write_torch_zip

SMALL = SwinConfig(depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), width=4, window=3, mlp_ratio=2)


def authors_state() -> dict[str, np.ndarray]:
    """All arrays of a classifier of these sizes, under the authors' names."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj": (4, 3, 4, 4), "patch_embed.norm": (4,)}
    tables = {}
    for stage, (depth, heads) in enumerate(zip(SMALL.depths, SMALL.num_heads, strict=True)):
        width = 4 * 2**stage
        for block in range(depth):
            base = f"layers.{stage}.blocks.{block}"
            shapes |= {f"{base}.norm1": (width,), f"{base}.norm2": (width,)}
            shapes |= {f"{base}.attn.qkv": (3 * width, width), f"{base}.attn.proj": (width, width)}
            shapes |= {f"{base}.mlp.fc1": (2 * width, width), f"{base}.mlp.fc2": (width, 2 * width)}
            tables[f"{base}.attn.relative_position_bias_table"] = (25, heads)
            tables[f"{base}.attn.relative_position_index"] = (9, 9)
        if stage < 3:
            shapes[f"layers.{stage}.downsample.norm"] = (4 * width,)
            tables[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
    shapes |= {"norm": (32,), "head": (10, 32)}
    rng = np.random.default_rng(0)
    whole = {f"{name}.weight": shape for name, shape in shapes.items()}
    whole |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()} | tables
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in whole.items()}


def torchvision_name(name: str) -> str:
    name = re.sub(r"^patch_embed\.proj", "features.0.0", name)
    name = re.sub(r"^patch_embed\.norm", "features.0.2", name)
    name = re.sub(r"^layers\.(\d)\.blocks\.", lambda m: f"features.{2 * int(m[1]) + 1}.", name)
    name = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 2}.", name)
    return name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


def timm_name(name: str) -> str:
    name = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name)
    return name.replace("head.", "head.fc.")


def write(folder, program):
    state = authors_state()
    if program == "authors":
        write_torch_zip(folder / "swin.pth", {f"model.{name}": array for name, array in state.items()})
        return folder / "swin.pth"
    if program == "torchvision":
        write_torch_zip(folder / "swin.pth", {torchvision_name(name): array for name, array in state.items()})
        return folder / "swin.pth"
    safetensors.numpy.save_file({timm_name(name): array for name, array in state.items()}, folder / "swin.safetensors")
    return folder / "swin.safetensors"


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return SMALL.build()


@pytest.mark.parametrize("program", ["authors", "torchvision", "timm"])
def test_every_weight_is_that_of_its_name(tmp_path, backbone, program):
    for variable in backbone.weights:
        variable.assign(np.full(variable.shape, 7.0))
    report = load_imagenet(backbone, SMALL, write(tmp_path, program))
    state, values = authors_state(), {v.path: v.numpy() for v in backbone.weights}
    kept = {name for name, value in values.items() if (value == 7.0).all()}
    assert kept == {f"stage{n}_out_norm/{leaf}" for n in (2, 3, 4, 5) for leaf in ("gamma", "beta")}
    assert {name.split(".")[0] for name in report.unused} == {"norm", "head"}

    def expect(name: str, theirs: np.ndarray) -> None:
        np.testing.assert_array_equal(values[name], theirs, err_msg=name)

    expect("stem_conv/kernel", state["patch_embed.proj.weight"].transpose(2, 3, 1, 0))
    expect("stem_norm/beta", state["patch_embed.norm.bias"])
    base = "layers.0.blocks.1"
    expect("stage2_block2_attention/qkv/kernel", state[f"{base}.attn.qkv.weight"].T)
    expect("stage2_block2_attention/position_bias", state[f"{base}.attn.relative_position_bias_table"])
    expect("stage2_block2_expand/bias", state[f"{base}.mlp.fc1.bias"])
    expect("stage2_block2_project/kernel", state[f"{base}.mlp.fc2.weight"].T)
    cells = state["layers.2.downsample.reduction.weight"].reshape(32, 4, 16)  # (0, 0), (1, 0), (0, 1), (1, 1)
    expect("stage5_down_reduce/kernel", np.concatenate([cells[:, i] for i in (0, 2, 1, 3)], 1).T)


def test_other_sizes_are_refused_and_nothing_changes(tmp_path, backbone):
    path = write(tmp_path, "torchvision")
    other = SwinConfig(depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 4), width=4, window=3, mlp_ratio=2)
    network = other.build()
    before = network.get_weights()
    with pytest.raises(WeightsError, match="stage3_block2"):
        load_imagenet(network, other, path)
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("name", "message"), [("features.1.0.attn.cpb_mlp.0.weight", "V2"), ("layers.0.blocks.0.attn.logit_scale", "V2")]
)
def test_the_second_version_is_refused_by_name(tmp_path, backbone, name, message):
    state = {**authors_state(), name: np.zeros(3, np.float32)}
    write_torch_zip(tmp_path / "swin.pth", state)
    with pytest.raises(WeightsError, match=message):
        load_imagenet(backbone, SMALL, tmp_path / "swin.pth")


def test_another_network_and_no_path_are_refused(tmp_path, backbone):
    write_torch_zip(tmp_path / "other.pth", {"conv1.weight": np.zeros((2, 3, 4, 4), np.float32)})
    with pytest.raises(WeightsError, match=r"expected a Swin Transformer .* it has conv1\.weight"):
        load_imagenet(backbone, SMALL, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="torchvision/swin_t_v1"):
        load_imagenet(backbone, SMALL)


def test_other_pixels_are_warned_of(tmp_path, backbone, caplog):
    config = SwinConfig(**{**SMALL.__dict__, "pixel_norm": PixelNorm(bgr=True)})
    load_imagenet(backbone, config, write(tmp_path, "timm"))
    assert "other pixels" in caplog.text


@pytest.mark.parametrize("program", ["authors", "torchvision", "timm"])
def test_as_a_detector_it_is_named_a_backbone(tmp_path, program):
    with pytest.raises(UnknownNetworkError, match=r"a Swin Transformer without a detector; .* with SwinConfig starts"):
        load_pretrained(write(tmp_path, program))
