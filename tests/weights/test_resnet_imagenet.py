from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy

from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.weights import WeightsError, load_imagenet
from tests.reference.containers import write_torch_zip

MSRA = PixelNorm(mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0), bgr=True)
_TORCH = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    """A ResNet-50 with batch norm; where its strides are makes no difference to its weights."""
    return ResNetConfig().build()


def _place(layer: str) -> tuple[int, int, str] | None:
    """(stage, block from 0, part), or None for the stem."""
    match = re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", layer)
    return (int(match[1]), int(match[2]) - 1, match[3]) if match else None


def torchvision_name(layer: str, leaf: str) -> str:
    place = _place(layer)
    base = "" if place is None else f"layer{place[0] - 1}.{place[1]}."
    if place is not None and place[2] == "shortcut":
        return f"{base}downsample.{0 if leaf == 'kernel' else 1}.{_TORCH.get(leaf, 'weight')}"
    number = "1" if place is None else place[2][-1]
    return f"{base}conv{number}.weight" if leaf == "kernel" else f"{base}bn{number}.{_TORCH[leaf]}"


def detectron2_name(layer: str, leaf: str) -> str:
    place = _place(layer)
    base = "stem.conv1" if place is None else f"res{place[0]}.{place[1]}.{place[2]}"
    return f"{base}.weight" if leaf == "kernel" else f"{base}.norm.{_TORCH[leaf]}"


def detectron_name(layer: str, leaf: str, norm: str = "bn") -> str | None:
    place = _place(layer)
    if place is None:
        return "conv1_w" if leaf == "kernel" else {"gamma": f"{_stem(norm)}_s", "beta": f"{_stem(norm)}_b"}.get(leaf)
    branch = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}[place[2]]
    base = f"res{place[0]}_{place[1]}_branch{branch}"
    return {"kernel": f"{base}_w", "gamma": f"{base}_{norm}_s", "beta": f"{base}_{norm}_b"}.get(leaf)


def _stem(norm: str) -> str:
    return "res_conv1_bn" if norm == "bn" else "conv1_gn"


def _state(weights: list, name: Callable[[str, str], str | None]) -> dict[str, np.ndarray]:
    """Random arrays in PyTorch's layout under the given names."""
    rng, state = np.random.default_rng(0), {}
    for weight in weights:
        parts = weight.path.split("/")
        theirs = name(parts[0], parts[-1])
        if theirs is not None:
            shape = tuple(weight.shape)
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
            state[theirs] = rng.random(shape, np.float32) + np.float32(0.5)
    return state


def _check(weights: list, state: dict[str, np.ndarray], name: Callable[[str, str], str | None]) -> None:
    """Every variable holds the array of its name; where there is none, a norm that changes nothing."""
    for weight in weights:
        parts = weight.path.split("/")
        theirs = name(parts[0], parts[-1])
        if theirs is None:
            expected = np.full(weight.shape, {"moving_mean": 0.0, "moving_variance": 1 - 1e-5}[parts[-1]], np.float32)
        else:
            expected = state[theirs]
        if expected.ndim == 4:
            expected = expected.transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(weight.numpy(), expected, err_msg=weight.path)


def test_torchvision(backbone: keras.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = _state(backbone.weights, torchvision_name)
    assert {"conv1.weight", "bn1.running_var", "layer4.2.bn3.bias", "layer1.0.downsample.1.weight"} <= set(state)
    file = {
        **state,
        "bn1.num_batches_tracked": np.int64(3),
        "fc.weight": np.ones((2, 3), "f"),
        "fc.bias": np.ones(2, "f"),
    }
    path = tmp_path / "resnet50.pth"
    write_torch_zip(path, file)
    report = load_imagenet(backbone, ResNetConfig(), path)
    assert len(report.loaded) == len(backbone.weights) and set(report.unused) == {"fc.weight", "fc.bias"}
    assert not caplog.records
    _check(backbone.weights, state, torchvision_name)
    with pytest.raises(WeightsError, match=r"resnet50\.pth: .*stride in the 3x3; set backbone\.stride_in_1x1=false"):
        load_imagenet(backbone, ResNetConfig(stride_in_1x1=True), path)
    with pytest.raises(WeightsError, match=r"have batch norm; backbone\.norm is gn"):
        load_imagenet(backbone, ResNetConfig(norm="gn"), path)
    load_imagenet(backbone, ResNetConfig(pixel_norm=MSRA), path)
    assert "other pixels" in caplog.text


def test_timm(backbone: keras.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names as torchvision's, in a safetensors file."""
    state = _state(backbone.weights, torchvision_name)
    file = {**state, "fc.weight": np.ones((2, 3), "f"), "fc.bias": np.ones(2, "f")}
    file["bn1.num_batches_tracked"] = np.array(3, np.int64)
    safetensors.numpy.save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    report = load_imagenet(backbone, ResNetConfig(), tmp_path / "model.safetensors")
    assert len(report.loaded) == len(backbone.weights) and "fc.weight" in report.unused
    assert not caplog.records
    _check(backbone.weights, state, torchvision_name)


def test_detectron_from_msra(backbone: keras.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Affine norms; the bias of R-50's first convolution is left out as Detectron leaves it out."""
    state = _state(backbone.weights, detectron_name)
    assert {"conv1_w", "res_conv1_bn_s", "res5_2_branch2c_bn_b", "res2_0_branch1_w"} <= set(state)
    extra = {"conv1_b": np.ones(64, "f"), "res2_0_branch2a_b": np.zeros(64, "f"), "fc1000_b": np.ones(1000, "f")}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({**state, **extra}, protocol=2))
    report = load_imagenet(backbone, ResNetConfig(stride_in_1x1=True, pixel_norm=MSRA), path)
    assert len(report.loaded) == len(backbone.weights) and "res2_0_branch2a_b" in report.unused
    assert not caplog.records
    _check(backbone.weights, state, detectron_name)
    with pytest.raises(WeightsError, match=r"stride in the 1x1; set backbone\.stride_in_1x1=true"):
        load_imagenet(backbone, ResNetConfig(pixel_norm=MSRA), path)
    deeper = _WithWeights([*backbone.weights, _Variable("stage4_block7_conv1/kernel", (1, 1, 1024, 256))])
    with pytest.raises(WeightsError, match=r"does not fit the model\n(.|\n)*stage4_block7_conv1"):
        load_imagenet(deeper, ResNetConfig(depth=101, stride_in_1x1=True, pixel_norm=MSRA), path)


class _Variable:
    """Stands for a variable of a network that would take long to build."""

    def __init__(self, path: str, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape


class _WithWeights:
    def __init__(self, weights: list) -> None:
        self.weights = weights
        self.layers = [self]


def test_detectron2_names(backbone: keras.Model, tmp_path: Path) -> None:
    """The classifiers that detectron2 converted from torchvision."""
    state = _state(backbone.weights, detectron2_name)
    contents = {"model": {**state, "stem.fc.bias": np.ones(3, "f")}, "__author__": "torchvision"}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(contents, protocol=4))
    report = load_imagenet(backbone, ResNetConfig(), path)
    assert report.unused == ("stem.fc.bias",)
    _check(backbone.weights, state, detectron2_name)


def test_stage_5_goes_to_the_rois(tmp_path: Path) -> None:
    """A C4 model has its stage 5 elsewhere; without that stage its arrays are left over by their own names.

    A non-local block, which no file has, stays as it was.
    """
    config = ResNetConfig(last_stage=4, stride_in_1x1=True, pixel_norm=MSRA, non_local=NonLocalConfig())
    backbone, stage = config.build(), Res5Config(stride_in_1x1=True).build()
    known = [weight for weight in backbone.weights if "non_local" not in weight.path]
    new = [weight for weight in backbone.weights if "non_local" in weight.path]
    before = [weight.numpy() for weight in new]
    assert len(new) == 6 + 1 + 4  # three kernels with their biases, the last kernel and its norm
    named = [*known, *(_Variable(f"stage5_{v.path}", v.shape) for v in stage.weights)]
    state = _state(named, detectron_name)
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(state, protocol=2))
    report = load_imagenet(backbone, config, path, stage)
    assert len(report.loaded) == len(known) + len(stage.weights) and not report.unused
    _check(known, state, detectron_name)
    assert all(np.array_equal(weight, value) for weight, value in zip(new, before, strict=True))
    _check(stage.weights, state, lambda layer, leaf: detectron_name(f"stage5_{layer}", leaf))
    report = load_imagenet(backbone, config, path)
    assert len(report.loaded) == len(known)
    assert set(report.unused) == {name for name in state if name.startswith("res5_")}


def test_group_norm(tmp_path: Path) -> None:
    config = ResNetConfig(norm="gn", last_stage=4, pixel_norm=MSRA)
    backbone = config.build()

    def name(layer: str, leaf: str) -> str | None:
        return detectron_name(layer, leaf, "gn")

    state = _state(backbone.weights, name)
    path = tmp_path / "R-50-GN.pkl"
    path.write_bytes(pickle.dumps({"blobs": state}, protocol=2))
    assert load_imagenet(backbone, config, path).is_complete
    _check(backbone.weights, state, name)
    with pytest.raises(WeightsError, match=r"have group norm; backbone\.norm is frozen_bn"):
        load_imagenet(backbone, ResNetConfig(pixel_norm=MSRA), path)


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    write_torch_zip(path, {"features.0.weight": np.ones((2, 3), "f")})
    with pytest.raises(WeightsError, match=r"other\.pth: expected a ResNet-50.*it has features\.0\.weight"):
        load_imagenet(keras.Sequential(), ResNetConfig(), path)
    path.write_text("<html>")
    with pytest.raises(WeightsError, match="a web page"):
        load_imagenet(keras.Sequential(), ResNetConfig(), path)
