"""What `load_pretrained` and `load_weights` say about files that are not what was meant."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.weights import pretrained
from mrcnn.weights.open_file import FileContents
from mrcnn.weights.pretrained import UnknownNetworkError, load_pretrained, load_weights
from mrcnn.weights.report import WeightsError, named_variables
from tests.reference import detectron2_states as states
from tests.reference.state_dicts import golden_shapes

PATH = "fasterrcnn.pth"
FC = "roi_heads.box_head.fc7.weight"


def _arrays(golden: str = "tv_box_r50_fpn", value: float = 0.5) -> dict[str, np.ndarray]:
    """All arrays of a published network, one number each, without memory."""
    return {name: np.broadcast_to(np.float32(value), shape.shape) for name, shape in golden_shapes(golden).items()}


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, np.ndarray]], None]:
    """Says what the file PATH holds."""

    def hold(arrays: dict[str, np.ndarray]) -> None:
        monkeypatch.setattr(pretrained, "read_arrays", lambda path: FileContents("torch", arrays, {}))

    return hold


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    """A model that the arrays of `_arrays` fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "read_arrays", lambda path: FileContents("torch", _arrays(), {}))
        return load_pretrained(PATH)


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Too many requests</html>", r"a web page \(the download failed\?\)"),
        (b"Not Found", "a text, beginning 'Not Found'"),
    ],
)
def test_no_weights_at_all(tmp_path: Path, model: MaskRCNN, content: bytes, what: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    for load in (load_pretrained, lambda path: load_weights(model, path)):
        with pytest.raises(WeightsError, match=rf"weights\.pth: {what}, expected a weights file"):
            load(path)
        with pytest.raises(WeightsError, match=r"a folder without model\.safetensors, expected a weights file"):
            load(tmp_path)
        with pytest.raises(WeightsError, match="no such file"):
            load(tmp_path / "absent.pth")


def test_another_network(holds: Callable) -> None:
    holds({"features.0.weight": np.zeros((64, 3, 3, 3)), "classifier.6.bias": np.zeros(1000)})
    with pytest.raises(
        WeightsError, match=r"fasterrcnn\.pth: torch weights of an unknown network; expected .*features\.0"
    ):
        load_pretrained(PATH)


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "res2.0.conv1.weight"])
def test_a_resnet_that_classifies_is_named_a_backbone(holds: Callable, name: str) -> None:
    holds({name: np.zeros((64, 64, 1, 1)), "fc.weight": np.zeros((1000, 2048))})
    with pytest.raises(UnknownNetworkError, match=r"a ResNet without a detector; .* with ResNetConfig starts"):
        load_pretrained(PATH)


def test_sizes_that_no_model_has_are_those_of_the_file(holds: Callable) -> None:
    shapes = states.mvit((1, 1, 1, 1), 8, 1, grid=60) | states.heads(5, states.mask_head(5))
    holds({name: np.broadcast_to(np.float32(0.5), shape.shape) for name, shape in shapes.items()})
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: backbone: expected multiples of 8 .* got 56 and 60"):
        load_pretrained(PATH)


def test_another_family_than_the_model(holds: Callable, model: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    """What fits is loaded and the rest is reported: a model may take a backbone from anywhere."""
    holds(_arrays("d2_keypoint_r50_fpn"))
    report = load_weights(model, PATH)
    assert "backbone/stem_conv1/kernel" in report.loaded
    assert "box_head/class_logits/kernel" in [name for name, *_ in report.shape_skipped]
    assert any(name.startswith("keypoint_head/") for name in report.unused)
    assert "backbone.pixel_norm" in caplog.text


def test_another_number_of_classes_than_said(holds: Callable, model: MaskRCNN) -> None:
    holds(_arrays())
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: weights for 90 classes .*expected 80"):
        load_weights(model, PATH, num_classes=80)


@pytest.mark.parametrize(
    "name",
    [
        "rpn.head.cls_logits.weight",
        "backbone.fpn.layer_blocks.2.0.bias",
        "backbone.body.layer3.2.bn2.running_var",
        "backbone.body.layer3.2.bn2.running_mean",
        "backbone.body.conv1.weight",
        FC,
    ],
)
def test_a_missing_key(holds: Callable, name: str) -> None:
    arrays = _arrays()
    del arrays[name]
    holds(arrays)
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: .*(missing|nothing in it is)"):
        load_pretrained(PATH)


def test_further_keys_are_reported(holds: Callable, model: MaskRCNN) -> None:
    holds({**_arrays(), "roi_heads.track_head.fc1.weight": np.zeros((2, 2), np.float32)})
    report = load_weights(model, PATH)
    assert report.is_complete and report.unused == ("roi_heads.track_head.fc1.weight",)


@pytest.mark.parametrize(
    "name",
    [
        "backbone.body.layer2.0.conv1.weight",
        "rpn.head.bbox_pred.weight",
        "roi_heads.box_predictor.cls_score.weight",
    ],
)
def test_a_transposed_tensor(holds: Callable, name: str) -> None:
    arrays = _arrays()
    arrays[name] = arrays[name].swapaxes(0, 1)
    holds(arrays)
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: .*(expected|does not fit)"):
        load_pretrained(PATH)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(holds: Callable, model: MaskRCNN, value: float) -> None:
    before = np.asarray(named_variables(model)["box_head/fc1/kernel"])[0, 0]
    arrays = {name: np.broadcast_to(np.float32(0.25), array.shape) for name, array in _arrays().items()}
    arrays[FC] = arrays[FC].copy()
    arrays[FC][3, 5] = value
    holds(arrays)
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: box_head/fc2/kernel holds NaN or infinity"):
        load_weights(model, PATH)
    assert np.asarray(named_variables(model)["box_head/fc1/kernel"])[0, 0] == before  # nothing was set


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_float32(holds: Callable, model: MaskRCNN, dtype: str) -> None:
    holds({name: np.broadcast_to(np.array(0.1, dtype), array.shape) for name, array in _arrays().items()})
    assert load_weights(model, PATH).is_complete
    variable = named_variables(model)["box_head/fc2/kernel"]
    assert np.asarray(variable).dtype == np.float32
    np.testing.assert_array_equal(variable, np.float32(np.array(0.1, dtype)))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_number_too_large_for_float32(holds: Callable, model: MaskRCNN) -> None:
    holds({**_arrays(), FC: np.broadcast_to(np.float64(1e300), (1024, 1024))})
    with pytest.raises(WeightsError, match=r"box_head/fc2/kernel holds NaN or infinity"):
        load_weights(model, PATH)


def test_there_is_one_load_weights() -> None:
    assert mrcnn.load_weights is mrcnn.weights.load_weights is load_weights
    assert mrcnn.load_model is mrcnn.weights.load_model


def test_an_encrypted_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags, at the record and in the directory
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth: .*encrypted"):
        load_pretrained(path)


def test_a_number_in_a_name_costs_no_memory(holds: Callable) -> None:
    holds({**_arrays(), "backbone.body.layer1.2000000000.conv1.weight": np.zeros((64, 64, 1, 1), np.float32)})
    with pytest.raises(WeightsError, match=r"fasterrcnn\.pth: .*missing"):
        load_pretrained(PATH)
