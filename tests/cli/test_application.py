from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import mrcnn
from mrcnn import cli
from mrcnn.preprocessing import InputConfig

NUCLEI = Path(__file__).parents[1] / "assets/nuclei_tiny"
COMMANDS = {
    "train": ["--recipe", "--train", "--train-images", "--val", "--val-images", "--out", "--set", "--weights"],
    "evaluate": ["--model", "--data", "--images", "--out"],
    "detect": ["--model", "--out", "IMAGE|DIR|GLOB", "--tile", "--augment", "--threads"],
    "video": ["IN", "OUT", "--model", "--score", "--batch-size", "--threads"],
    "export": ["--model", "--out"],
    "inspect": ["--data", "--images", "--out"],
    "convert": ["FILE", "OUT", "--half"],
    "weights": ["FILE", "--recipe"],
    "build-ops": ["--cuda"],
    "doctor": [],
    "recipes": ["NAME|FILE"],
}


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


def test_recipes_are_listed_and_printed_as_yaml():
    listed = invoke("recipes").output
    for name, recipe in mrcnn.recipes.named().items():
        assert re.search(rf"^{name} .* {recipe.model.input.short_side} ", listed, re.MULTILINE), name
    printed = invoke("recipes", "mask_rcnn_r101_fpn").output
    assert mrcnn.Recipe.from_dict(yaml.safe_load(printed)) == mrcnn.recipes.get("mask_rcnn_r101_fpn")


LITE = "mask_rcnn_efficientnet_lite0_fpn"
DATA = NUCLEI / "annotations.json"


@pytest.mark.parametrize(
    "args, said",
    [
        (["trian"], r"No such command 'trian'"),
        (["train", "--recipe", LITE], r"Missing option '--train'.*mrcnn train --help"),
        (["train", "--recipe", "mask_rcnn_r50", "--train", DATA, "--out", "o"], r"mask_rcnn_r50.*mask_rcnn_r50_fpn"),
        (["train", "--recipe", "no/such.yaml", "--train", DATA, "--out", "o"], r"no/such\.yaml: No such file"),
        (["train", "--recipe", LITE, "--train", "absent.json", "--out", "o"], r"absent\.json: no such annotation"),
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
        (["evaluate", "--model", "absent", "--data", "absent.json", "--out", "o"], r"absent\.json: no such annotation"),
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
        (["inspect", "--data", NUCLEI, "--out", "o"], r"expected a COCO JSON file, found a folder"),
        (["inspect", "--data", DATA, "--images", "absent", "--out", "o"], r"absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(said, refused(*args))
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_broken_annotation_names_file_record_and_reason(tmp_path):
    content = json.loads(DATA.read_text())
    content["annotations"][1]["category_id"] = 99
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(content))
    line = refused("train", "--recipe", LITE, "--train", file, "--train-images", NUCLEI / "images", "--out", tmp_path)
    number = content["annotations"][1]["id"]
    assert str(file) in line and f"annotation {number}" in line and "category 99" in line


def test_a_run_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "holds a run already" in refused("train", "--recipe", LITE, "--train", DATA, "--out", tmp_path)


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


def test_inspect_counts_measures_draws_and_lists_issues(tmp_path):
    content = json.loads(DATA.read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["category_id"] = 99
    content["images"].append({"id": 7, "file_name": "absent.png", "height": 8, "width": 8})
    file = tmp_path / "some.json"
    file.write_text(json.dumps(content))
    out = tmp_path / "out"
    result = invoke("inspect", "--data", file, "--images", NUCLEI / "images", "--out", out, "--recipe", LITE)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 2
    assert report["objects"] == len(content["annotations"]) - 1 == report["per_class"]["nucleus"]
    assert {issue["kind"] for issue in report["issues"]} == {"zero area box", "unknown category", "missing image"}
    assert sum(issue["fatal"] for issue in report["issues"]) == 2
    for image in ("boxes.png", "sample_21.png", "sample_369.png"):
        assert Image.open(out / image).size[0] > 100
    for said in ("nucleus", "category 99", "absent.png", "anchor sizes"):
        assert said in result.output


def test_inspect_takes_a_set_without_objects(tmp_path):
    content = json.loads(DATA.read_text()) | {"annotations": []}
    file = tmp_path / "empty.json"
    file.write_text(json.dumps(content))
    result = invoke("inspect", "--data", file, "--images", NUCLEI / "images", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 images (2 without objects), 0 objects" in result.output
    assert not (tmp_path / "out/boxes.png").exists()


def test_inspect_names_an_image_cut_off_that_it_meets_while_drawing(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
    annotation["segmentation"] = [[5, 5, 25, 5, 25, 25, 5, 25]]
    images = [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}]
    data = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "nut"}]}
    (tmp_path / "ann.json").write_text(json.dumps(data), encoding="utf-8")
    result = invoke("inspect", "--data", tmp_path / "ann.json", "--images", tmp_path, "--out", tmp_path / "out")
    assert "1 x image (training refuses)" in result.output
    [issue] = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))["issues"]
    assert "a.png: the image is damaged or cut off" in str(issue)


NARROW = [
    *("--set", "data.mask_side=28", "--set", "model.rpn.channels=32", "--set", "model.neck.channels=32"),
    *("--set", "model.box_head.fc_dims=[32]", "--set", "model.heads.0.conv_dims=[32]"),
    *("--set", "train.images=2", "--set", "train.batch_size=2"),
]
SMALL = [
    *("--set", "data.short_sides=[]", "--set", "model.input.short_side=64", "--set", "model.input.long_side=96"),
]


def _train(out: Path, images: Path = NUCLEI / "images", *more: object):
    base = ["train", "--recipe", LITE, "--train", DATA, "--train-images", images, "--out", out, "--weights", "none"]
    return invoke(*base, *NARROW, *SMALL, *more)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of one step, made by the command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = _train(folder, NUCLEI / "images", "--val", DATA, "--val-images", NUCLEI / "images")
    assert result.exit_code == 0, result.output
    assert "mrcnn: 1 device, 2 images per step, learning rate 0.0024 x 2 / 16 = 0.0003, 1 steps" in result.stderr
    return folder


def test_train_leaves_a_whole_run(run):
    names = {path.name for path in run.iterdir()}
    files = {"model.safetensors", "best.safetensors", "recipe.yaml", "run.json", "history.csv", "curves.png"}
    assert names == files | {"checkpoints", "events"}
    kept = mrcnn.recipes.get(run / "recipe.yaml")
    assert kept.train.images == 2 and kept.model.neck.channels == 32
    assert mrcnn.load_model(run).class_names == ("nucleus",)


@pytest.mark.slow
def test_the_size_of_training_is_that_of_validation_and_detection(tmp_path, monkeypatch):
    """`--set data.short_sides=[256] --set data.long_side=352`, keys of earlier versions, set the model's input."""
    sizes, content_size = [], InputConfig.content_size

    def recorded(config, *args, **kwargs):
        sizes.append(content_size(config, *args, **kwargs))
        return sizes[-1]

    monkeypatch.setattr(InputConfig, "content_size", recorded)
    base = ["train", "--recipe", LITE, "--train", DATA, "--train-images", NUCLEI / "images", "--weights", "none"]
    base += ["--val", DATA, "--val-images", NUCLEI / "images", "--out", tmp_path / "run"]
    result = invoke(*base, *NARROW, "--set", "data.short_sides=[256]", "--set", "data.long_side=352")
    assert result.exit_code == 0, result.output
    assert "set model.input.long_side=352, model.input.short_side=256" in result.stderr
    assert sizes and all(min(size) == 256 or max(size) == 352 for size in sizes)
    model, recipe = mrcnn.load_model(tmp_path / "run"), mrcnn.recipes.get(tmp_path / "run" / "recipe.yaml")
    assert recipe.data.short_sides == ()
    assert model.config.input == recipe.model.input
    assert (model.config.input.short_side, model.config.input.long_side) == (256, 352)
    sizes.clear()
    image = np.zeros((100, 110, 3), np.uint8)
    mrcnn.detect(model, image)
    assert sizes == [(256, 282)]


def test_evaluate_writes_metrics_and_detections(run, tmp_path):
    result = invoke("evaluate", "--model", run, "--data", DATA, "--images", NUCLEI / "images", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"box/AP", "mask/AP50", "mask/ARl"} <= set(json.loads((tmp_path / "metrics.json").read_text())["numbers"])
    assert isinstance(json.loads((tmp_path / "detections.json").read_text()), list)


def test_evaluate_refuses_other_classes(run, tmp_path):
    content = json.loads(DATA.read_text())
    content["categories"][0]["name"] = "star"
    file = tmp_path / "stars.json"
    file.write_text(json.dumps(content))
    line = refused("evaluate", "--model", run, "--data", file, "--images", NUCLEI / "images", "--out", tmp_path / "o")
    assert "star" in line and "nucleus" in line


def test_detect_draws_every_image_and_writes_coco_results(run, tmp_path):
    out = tmp_path / "found"
    images = sorted((NUCLEI / "images").glob("*.png"))
    result = invoke("detect", "--model", run, NUCLEI / "images", "--out", out, "--score", 0)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"detections.json", *(p.name for p in images)}
    found = json.loads((out / "detections.json").read_text())
    for one in found:
        assert {"image_id", "category_id", "bbox", "score", "segmentation", "file_name"} <= set(one)
        assert one["file_name"] == str(images[one["image_id"] - 1])


def test_video_keeps_its_frames_in_order(run, tmp_path):
    with mrcnn.VideoWriter(tmp_path / "in.avi", 10) as video:
        for i in range(6):  # ever brighter
            video.write(np.full((48, 64, 3), 40 * i, np.uint8))
    result = invoke("video", "--model", run, tmp_path / "in.avi", tmp_path / "out.avi", "--batch-size", 4)
    assert result.exit_code == 0, result.output
    assert re.search(r"6 frames, [\d.]+ fps", result.output)
    drawn = mrcnn.VideoReader(tmp_path / "out.avi")
    assert (drawn.fps, drawn.num_frames) == (10, 6)
    brightness = [np.median(frame) for frame in drawn]
    assert (np.diff(brightness) > 10).all()  # masks are drawn over the gray
    assert sorted(path.name for path in tmp_path.glob("*.avi")) == ["in.avi", "out.avi"]


@pytest.mark.parametrize("option", [["--tile", "100"], ["--augment"]])
def test_detect_by_tiles_and_at_several_sizes(run, tmp_path, option):
    first = min((NUCLEI / "images").glob("*.png"))
    result = invoke("detect", "--model", run, first, "--out", tmp_path, "--score", 0, *option)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"detections.json", first.name}


def test_detect_names_a_damaged_image(run, tmp_path):
    damaged = tmp_path / "cut.png"
    whole = next((NUCLEI / "images").glob("*.png")).read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert "cut.png" in refused("detect", "--model", run, damaged, "--out", tmp_path / "out")


def test_export_writes_a_saved_model(run, tmp_path):
    images = sorted((NUCLEI / "images").glob("*.png"))[0]
    result = invoke("export", "--model", run, "--out", tmp_path / "served", "--images", images, "--masks", "packed")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "served/1/saved_model.pb").is_file()
    assert "scores differ by at most" in result.output or "no detections" in result.output
    (tmp_path / "notes.txt").touch()
    assert "nothing but versions" in refused("export", "--model", run, "--out", tmp_path)


def test_export_knows_its_formats(run, tmp_path):
    assert "expected one of savedmodel, onnx, openvino, tflite, got 'caffe'" in refused(
        "export", "--model", run, "--out", tmp_path, "--format", "caffe"
    )
    onnx = ("export", "--model", run, "--out", tmp_path, "--format", "onnx")
    assert "only a SavedModel has --height" in refused(*onnx, "--height", 64)
    assert "only a SavedModel has --masks, --variables" in refused(*onnx, "--masks", "full", "--variables")
    assert "only tflite stores weights in 8 bits" in refused(*onnx, "--int8")


def test_export_writes_an_openvino_file(run, tmp_path):
    pytest.importorskip("openvino")
    result = invoke("export", "--model", run, "--out", tmp_path, "--format", "openvino")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert mrcnn.load_openvino(tmp_path / "model.xml").class_names == mrcnn.load_model(run).class_names


def test_training_starts_from_a_checkpoint_and_says_what_fitted(run, tmp_path):
    result = _train(tmp_path / "run", NUCLEI / "images", "--weights", run)
    assert result.exit_code == 0, result.output
    assert re.search(r"\d+ loaded, 0 skipped for their shape, 0 missing, 0 unused", result.output)


def test_a_damaged_image_met_while_training_is_named(tmp_path):
    for path in (NUCLEI / "images").glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:5000])
    result = _train(tmp_path / "run", tmp_path)
    assert result.exit_code == 2, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("mrcnn: ") and ".png" in line and "damaged or cut off" in line
    assert re.search(r"image id '?(21|369)", line)


def test_doctor_answers_without_a_issue():
    result = invoke("doctor")
    assert result.exit_code == 0
    for subject in ("Python", "TensorFlow", "keras", "GPUs", "RoIAlign", "cores"):
        assert subject in result.stdout


def test_weights_and_convert(run, tmp_path):
    """`run` is a folder with a checkpoint."""
    described = invoke("weights", run)
    assert described.exit_code == 0, described.output
    assert "mrcnn EfficientNetLite" in described.stdout
    converted = tmp_path / "half.safetensors"
    result = invoke("convert", run, converted, "--half")
    assert result.exit_code == 0, result.output
    assert converted.stat().st_size < 0.6 * (run / "model.safetensors").stat().st_size
    assert mrcnn.load_model(converted).class_names == mrcnn.load_model(run).class_names
    assert "ends in .safetensors" in refused("convert", run, tmp_path / "half.pth")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Not here</html>")
    assert "a web page" in refused("weights", tmp_path / "page.pth")
