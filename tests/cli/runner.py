"""The command line in this process, and a run of one step that commands are tried on."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from mrcnn import cli

NUCLEI = Path(__file__).parents[1] / "assets/nuclei_tiny"
DATA = NUCLEI / "annotations.json"
LITE = "mask_rcnn_efficientnet_lite0_fpn"
NARROW = [
    *("--set", "data.mask_side=28", "--set", "model.rpn.channels=32", "--set", "model.neck.channels=32"),
    *("--set", "model.box_head.fc_dims=[32]", "--set", "model.heads.0.conv_dims=[32]"),
    *("--set", "train.images=2", "--set", "train.batch_size=2"),
]
SMALL = [
    *("--set", "data.short_sides=[]", "--set", "model.input.short_side=64", "--set", "model.input.long_side=96"),
]


def invoke(*args: object):
    return CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(cli.app, [str(arg) for arg in args])


def refused(*args: object) -> str:
    """The one line of a refusal."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("mrcnn: ")
    assert "Traceback" not in result.output
    return lines[0]


def train(out: Path, images: Path = NUCLEI / "images", *more: object):
    base = ["train", "--recipe", LITE, "--train", DATA, "--train-images", images, "--out", out, "--weights", "none"]
    return invoke(*base, *NARROW, *SMALL, *more)
