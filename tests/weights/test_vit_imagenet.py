"""Vision Transformers of three programs, written by hand with random arrays, into a backbone."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import safetensors.numpy

from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.weights import WeightsError, load_imagenet
from mrcnn.weights.pretrained import UnknownNetworkError, load_pretrained
from tests.reference.containers import write_torch_zip

SMALL = ViTConfig(depth=2, width=4, num_heads=2, window=2, grid=3, position_grid=2, global_blocks=(1,), mlp_ratio=2)


def mae_state(cells: int = 4, patch: int = 16) -> dict[str, np.ndarray]:
    """All arrays of a network of these sizes, under MAE's names."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj": (4, 3, patch, patch), "norm": (4,)}
    for block in range(2):
        base = f"blocks.{block}"
        shapes |= {f"{base}.norm1": (4,), f"{base}.norm2": (4,)}
        shapes |= {f"{base}.attn.qkv": (12, 4), f"{base}.attn.proj": (4, 4)}
        shapes |= {f"{base}.mlp.fc1": (8, 4), f"{base}.mlp.fc2": (4, 8)}
    rng = np.random.default_rng(0)
    whole = {f"{name}.weight": shape for name, shape in shapes.items()}
    whole |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()}
    whole |= {"cls_token": (1, 1, 4), "pos_embed": (1, cells + 1, 4)}
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in whole.items()}


def torchvision_name(name: str) -> str:
    parts = {"norm1": "ln_1", "norm2": "ln_2", "attn.proj": "self_attention.out_proj", "mlp.fc1": "mlp.0"}
    parts |= {"mlp.fc2": "mlp.3"}
    match = re.fullmatch(r"blocks\.(\d)\.(.+)\.(weight|bias)", name)
    if match:
        start = f"encoder.layers.encoder_layer_{match[1]}"
        if match[2] == "attn.qkv":
            return f"{start}.self_attention.in_proj_{match[3]}"
        return f"{start}.{parts[match[2]]}.{match[3]}"
    name = re.sub(r"^norm\.", "encoder.ln.", name).replace("patch_embed.proj", "conv_proj")
    return name.replace("pos_embed", "encoder.pos_embedding").replace("cls_token", "class_token")


def write(folder, program, **sizes):
    state = mae_state(**sizes)
    if program == "timm":
        path = folder / "vit.safetensors"
        safetensors.numpy.save_file(state | {"head.weight": np.ones((10, 4), np.float32)}, path)
        return path
    path = folder / "vit.pth"
    if program == "torchvision":
        state = {torchvision_name(name): array for name, array in state.items()}
    else:
        state = {f"model.{name}": array for name, array in state.items()}
    write_torch_zip(path, state)
    return path


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return SMALL.build()


@pytest.mark.parametrize("program", ["mae", "torchvision", "timm"])
def test_every_weight_is_that_of_its_name(tmp_path, backbone, program):
    for variable in backbone.weights:
        variable.assign(np.full(variable.shape, 7.0))
    load_imagenet(backbone, SMALL, write(tmp_path, program))
    state, values = mae_state(), {v.path: v.numpy() for v in backbone.weights}
    kept = {name for name, value in values.items() if (value == 7.0).all()}
    assert kept == {f"block{n}_attention/{axis}" for n in (1, 2) for axis in ("rows", "columns")}

    def expect(name: str, theirs: np.ndarray) -> None:
        np.testing.assert_array_equal(values[name], theirs, err_msg=name)

    expect("stem_patches/kernel", state["patch_embed.proj.weight"].transpose(2, 3, 1, 0))
    expect("stem_positions/embedding", state["pos_embed"][0, 1:].reshape(2, 2, 4))
    expect("block2_attention/qkv/kernel", state["blocks.1.attn.qkv.weight"].T)
    expect("block2_attention/qkv/bias", state["blocks.1.attn.qkv.bias"])
    expect("block1_attention/project/bias", state["blocks.0.attn.proj.bias"])
    expect("block1_norm2/gamma", state["blocks.0.norm2.weight"])
    expect("block1_expand/kernel", state["blocks.0.mlp.fc1.weight"].T)
    expect("block2_project/bias", state["blocks.1.mlp.fc2.bias"])


def test_positions_of_another_grid_are_interpolated_and_said(tmp_path, backbone, caplog):
    path = write(tmp_path, "mae", cells=16)
    load_imagenet(backbone, SMALL, path)
    assert caplog.text.count("absolute positions of 4 x 4 cells, interpolated to 2 x 2") == 1
    grid = mae_state(cells=16)["pos_embed"][0, 1:].reshape(4, 4, 4)
    # Between the two middle cells of each half: Keys' weights at 1/2 and 3/2 with a = -0.75, the edge repeated.
    near, far = 0.59375, -0.09375
    shares = np.array([[far + near, near, far, 0], [0, far, near, near + far]])
    expected = np.einsum("ya,xb,abc->yxc", shares, shares, grid)
    values = {v.path: v.numpy() for v in backbone.weights}
    np.testing.assert_allclose(values["stem_positions/embedding"], expected, atol=1e-5)


def test_other_networks_are_refused(tmp_path, backbone):
    with pytest.raises(WeightsError, match="patches of 14 x 14 pixels, expected 16 x 16"):
        load_imagenet(backbone, SMALL, write(tmp_path, "mae", patch=14))
    deeper = ViTConfig(depth=3, width=4, num_heads=2, global_blocks=())
    with pytest.raises(WeightsError, match=r"2 blocks of 4 channels, while backbone\.depth is 3"):
        load_imagenet(backbone, deeper, write(tmp_path, "mae"))
    safetensors.numpy.save_file({"fc.weight": np.ones((2, 2), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="expected a Vision Transformer of MAE, timm or torchvision"):
        load_imagenet(backbone, SMALL, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="detectron2/imagenet_mae_vit_b"):
        load_imagenet(backbone, SMALL)


@pytest.mark.parametrize("program", ["mae", "torchvision", "timm"])
def test_as_a_detector_it_is_named_a_backbone(tmp_path, program):
    with pytest.raises(UnknownNetworkError, match="a Vision Transformer without a detector; as a backbone"):
        load_pretrained(write(tmp_path, program))
