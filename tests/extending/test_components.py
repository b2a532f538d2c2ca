"""The pages of docs/extending about parts of the model: from a package outside the tree, in fresh processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.extending.package import DETECT, TRAIN, blocks, install, run

TINY = {
    "num_classes": 2,
    "backbone": {"kind": "EfficientNetLiteConfig"},
    "neck": {"kind": "FPNConfig", "channels": 32},
    "rpn": {"channels": 32, "pre_nms_test": 100, "post_nms_test": 50, "post_nms_train": 100},
    "box_head": {"fc_dims": [32], "max_detections": 8},
    "heads": [{"kind": "MaskHeadConfig", "conv_dims": [8], "deconv_dim": 8}],
    "input": {"short_side": 64, "long_side": 64},
}


@pytest.mark.slow
def test_a_backbone(tmp_path: Path) -> None:
    module = install(tmp_path / "site", "backbone")
    config = {**TINY, "backbone": {"kind": f"{module}:ConvNeXtTinyConfig", "freeze_at": 2}}
    report = json.loads(run(tmp_path / "site", TRAIN, json.dumps(config)).splitlines()[-1])
    own = [path for path in report["paths"] if path.startswith("backbone/")]
    frozen = ("backbone/convnext_tiny_stem/", "backbone/convnext_tiny_stage_0_")
    still = {path for path in own if path.startswith(frozen)}
    assert len(still) > 20 and not still & set(report["changed"])
    assert {path.split("/")[1] for path in own if path in report["changed"]} >= {
        *("convnext_tiny_downsampling_block_0", "convnext_tiny_stage_1_block_0_depthwise_conv"),
        "convnext_tiny_stage_3_block_2_pointwise_conv_2",
    }
    assert run(tmp_path / "site", DETECT).split() == ["ConvNeXtTinyConfig", "MaskHeadConfig"]


@pytest.mark.slow
def test_a_loss_and_a_head(tmp_path: Path) -> None:
    site = tmp_path / "site"
    tversky, quality = install(site, "loss"), install(site, "head")
    head = {
        "kind": f"{quality}:MaskQualityHeadConfig",
        "pool": {"size": 4},
        "conv_dims": [8],
        "deconv_dim": 8,
        "quality_dims": [8],
        "loss": {"kind": f"{tversky}:Tversky", "smooth": 0.5},
    }
    config = {**TINY, "heads": [head]}
    report = json.loads(run(site, TRAIN, json.dumps(config)).splitlines()[-1])
    assert {"roi_mask", "roi_quality"} <= report["losses"].keys()
    assert 0.0 < report["losses"]["roi_mask"] < 1.0  # as an overlap is
    assert {"mask_quality_head/quality/kernel", "mask_quality_head/mask_logits/kernel"} <= set(report["changed"])
    assert run(site, DETECT).split() == ["EfficientNetLiteConfig", "MaskQualityHeadConfig"]


def test_the_pages_own_examples(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for page in ("backbone", "head", "loss"):
        install(site, page)
    script = "\n".join(blocks(page)[1] for page in ("backbone", "head", "loss"))
    printed = run(site, script).splitlines()
    assert int(printed[0].split()[0]) > 10
    assert "roi_quality" in printed[1] and "mask_quality" in printed[1]
    assert printed[2] == "Tversky(missed=0.5, smooth=1.0)"


@pytest.mark.slow
def test_a_function_as_a_backbone(tmp_path: Path) -> None:
    module, script = blocks("backbone")[2:4]
    name = re.match(r"# (\w+)\.py\n", module)[1]
    (tmp_path / f"{name}.py").write_text(module, encoding="utf-8")
    assert run(tmp_path, script).strip() == "{'c2': 16, 'c3': 32, 'c4': 64, 'c5': 128}"
