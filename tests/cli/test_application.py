from __future__ import annotations

import re

import pytest

import mrcnn
from tests.cli.runner import DATA, LITE, NUCLEI, invoke, refused

COMMANDS = {
    "train": ["--recipe", "--train", "--train-images", "--val", "--val-images", "--out", "--set", "--weights"],
    "evaluate": ["--model", "--data", "--images", "--out"],
    "detect": ["--model", "--out", "IMAGE|DIR|GLOB", "--tile", "--augment", "--threads"],
    "app": ["--model", "--data", "--host", "--port", "--open", "--threads", "--precision"],
    "video": ["IN", "OUT", "--model", "--score", "--batch-size", "--threads"],
    "export": ["--model", "--out"],
    "propose": ["--model", "--data", "--budget", "--labeled", "--out", "--save-as"],
    "serve-labels": ["--model", "--port", "--host", "--files", "--label-studio-url"],
    "inspect": ["--data", "--images", "--out"],
    "convert": ["FILE", "OUT", "--half"],
    "weights": ["FILE", "--recipe"],
    "download": ["NAME|URL", "--list", "--remove"],
    "push": ["RUN", "hf://USER/REPO", "--license", "--private", "--last"],
    "build-ops": ["--cuda"],
    "doctor": [],
    "recipes": ["NAME|FILE"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    for option in COMMANDS[command]:
        assert option in result.output


def test_without_arguments_the_commands_are_listed():
    result = invoke()
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


def test_version():
    assert invoke("--version").output.strip() == f"mrcnn {mrcnn.__version__}"


@pytest.mark.parametrize(
    "args, said",
    [
        (["trian"], r"No such command 'trian'"),
        (["train", "--recipe", LITE], r"Missing option '--out'.*mrcnn train --help"),
        (["train", "--recipe", "mask_rcnn_r50", "--train", DATA, "--out", "o"], r"mask_rcnn_r50.*mask_rcnn_r50_fpn"),
        (["train", "--recipe", "no/such.yaml", "--train", DATA, "--out", "o"], r"no/such\.yaml: No such file"),
        (["train", "--recipe", LITE, "--train", "absent.json", "--out", "o"], r"absent\.json: no such file or folder"),
        (["train", "--recipe", LITE, "--train", DATA, "--out", "o", "--set", "lr"], r"--set lr: expected KEY=VALUE"),
        (
            ["train", "--recipe", LITE, "--train", DATA, "--out", "o", "--set", "train.lr=1"],
            r"train\.lr: no field 'lr'",
        ),
        (["train", "--recipe", LITE, "--train", DATA, "--out", "o", "--set", "train.seed=[1]"], r"train\.seed.*int"),
        (
            ["train", "--recipe", LITE, "--train", DATA, "--out", "o", "--val-images", "x"],
            r"--val-images without --val",
        ),
        (["evaluate", "--model", "absent", "--data", DATA, "--out", "o"], r"absent: no such file"),
        (
            ["evaluate", "--model", "absent", "--data", "absent.json", "--out", "o"],
            r"absent\.json: no such file or folder",
        ),
        (["detect", "--model", "absent", "--out", "o", "absent.png"], r"absent\.png: no such file or folder"),
        (["detect", "--model", "absent", "--out", "o", "absent*.png"], r"absent\*\.png: matches no file"),
        (["detect", "--model", "absent", "--out", "o", NUCLEI], r"nuclei_tiny: a folder without images"),
        (["detect", "--model", NUCLEI, "--out", "o", NUCLEI / "images"], r"nuclei_tiny: a folder without model"),
        (["detect", "--model", DATA, "--out", "o", NUCLEI / "images"], r"annotations\.json: a JSON text"),
        (["detect", "--model", DATA, "--out", "o", "--score", "2", "x"], r"'--score': .*1"),
        (
            ["detect", "--model", DATA, "--out", "o", "--tile", "9", "--augment", NUCLEI],
            r"--augment and --tile exclude",
        ),
        (["video", "--model", "absent", "absent.mp4", "o.mp4"], r"absent\.mp4: no such video"),
        (["video", "--model", "absent", DATA, "o.mp4"], r"annotations\.json: not a video"),
        (["export", "--model", "absent", "--out", "o"], r"absent: no such file"),
        (["inspect", "--data", NUCLEI / "images", "--out", "o"], r"images: a data set in no known format"),
        (["inspect", "--data", DATA, "--images", "absent", "--out", "o"], r"absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(said, refused(*args))
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_debug_shows_the_traceback_wherever_it_stands():
    for args in (("--debug", "recipes", "absent"), ("recipes", "absent", "--debug")):
        result = invoke(*args)
        assert isinstance(result.exception, mrcnn.ConfigError)


def test_only_errors_of_the_package_are_one_line(monkeypatch):
    """Any other exception is a fault of the program: it leaves the command, and Python shows its traceback."""
    monkeypatch.setattr(mrcnn.recipes, "named", lambda: 1 / 0)
    result = invoke("recipes")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)
    assert "mrcnn:" not in result.stderr
