"""torchvision's MobileNetV3-Large classifier as a backbone; the names are those of its state dict."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.weights.imagenet import load_imagenet
from mrcnn.weights.mobilenet_imagenet import load_mobilenet
from mrcnn.weights.report import WeightsError
from tests.golden.case import Golden
from tests.reference.containers import write_torch_zip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The backbone of a detector under the classifier's names, with counters and a layer more; its arrays."""
    state = Golden("tv_box_mobilenet_v3_large_fpn").state()
    body = "backbone.body."
    arrays = {f"features.{name.removeprefix(body)}": x for name, x in state.items() if name.startswith(body)}
    arrays["features.0.1.num_batches_tracked"] = np.array(7, np.int64)
    arrays["classifier.0.weight"] = np.zeros((1280, 960), np.float32)
    path = tmp_path_factory.mktemp("imagenet") / "mobilenet_v3_large-0.pth"
    write_torch_zip(path, arrays)
    return path, arrays


@pytest.mark.parametrize("maps", ["strides", "last_two"])
def test_every_weight_of_the_backbone_is_set(classifier, maps):
    path, arrays = classifier
    config = MobileNetV3Config(maps=maps)
    backbone = config.build()
    report = load_imagenet(backbone, config, path)
    assert report.is_complete and len(report.loaded) == len(backbone.weights)
    assert report.unused == ("classifier.0.weight",)
    stem = backbone.get_layer("stem_conv1")
    np.testing.assert_array_equal(stem.kernel, arrays["features.0.0.weight"].transpose(2, 3, 1, 0))
    depthwise = backbone.get_layer("stage5_block1_depthwise").kernel
    np.testing.assert_array_equal(depthwise, arrays["features.13.block.1.0.weight"].transpose(2, 3, 0, 1))
    excite = backbone.get_layer("stage3_block1_excite").bias
    np.testing.assert_array_equal(excite, arrays["features.4.block.2.fc2.bias"])


def test_other_files_are_refused(tmp_path):
    config = MobileNetV3Config()
    write_torch_zip(tmp_path / "other.pth", {"layer1.0.conv1.weight": np.zeros((1, 1, 1, 1), np.float32)})
    with pytest.raises(WeightsError, match="expected a MobileNetV3-Large as torchvision names it; it has layer1"):
        load_mobilenet(config.build(), config, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"need batch norm .*backbone\.norm is gn"):
        load_imagenet(config.build(), MobileNetV3Config(norm="gn"), tmp_path / "other.pth")
