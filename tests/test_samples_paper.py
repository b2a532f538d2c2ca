"""samples/paper: the paper's tables as recipes, their results as tables, and what is done is not done again."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys

import pytest

import mrcnn
from tests.conftest import SAMPLES
from tests.tiny_model import tiny_config

MODULES = ("tables", "transfer", "scales", "rendering", "running", "run")
NOWHERE = "no such folder"


@pytest.fixture
def paper(monkeypatch):
    """The sample's modules by name; they leave with the test, for their names are common ones."""
    monkeypatch.syspath_prepend(SAMPLES / "paper")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    loaded = {name: importlib.import_module(name) for name in MODULES}
    yield type("Paper", (), loaded)
    for name in MODULES:
        sys.modules.pop(name, None)


def _rows(paper):
    for key, table in paper.tables.TABLES.items():
        for row in table.rows:
            yield key, table, row


def _places(paper, root=NOWHERE):
    return paper.scales.Places(paper.scales.Path(root), {})


def test_all_tables_of_the_paper_are_there(paper, capsys):
    tables = paper.tables.TABLES
    assert {"1", "2a", "2b", "2c", "2d", "2e", "3", "4", "5", "6", "7", "8"} <= set(tables)
    assert paper.tables.find("A") == ("7",) and paper.tables.find("7-8") == ("7", "8")
    for _, table, row in _rows(paper):
        assert len(row.published) <= len(table.metrics)
        assert table.reference in {other.name for other in table.rows}
    assert paper.run.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{key} " in f"\n{shown}" for key in tables)
    assert "RoIAlign: mask/AP 30.9, mask/AP50 51.8, mask/AP75 32.1, box/AP 34.0" in shown


@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
def test_every_row_is_a_recipe_at_every_scale(paper, scale):
    for key, table, row in _rows(paper):
        if row.network is None or (table.data == "cityscapes" and scale == "laptop"):
            continue
        recipe = paper.scales.recipe(table, row, scale, _places(paper))
        assert isinstance(recipe, mrcnn.Recipe), (key, row.name)
        heads = {type(head).__name__ for head in recipe.model.heads}
        assert ("KeypointHeadConfig" in heads) == ("keypoints" in row.heads) == (recipe.data.num_joints == 17)
        assert ("MLPMaskHeadConfig" in heads) == row.heads.startswith("mlp")
        if scale == "laptop":
            assert recipe.train.images <= 2000


def test_rows_differ_in_what_their_table_compares_only(paper):
    def fields(key, scale):
        table = paper.tables.TABLES[key]
        dicts = [paper.scales.recipe(table, row, scale, _places(paper)).to_dict() for row in table.rows]
        flat = [dict(_flatten(one)) for one in dicts]
        return {name for name in flat[0] if len({repr(one.get(name)) for one in flat}) > 1}

    pooled = {f"model.{head}.pool.{field}" for head in ("box_head", "heads.0") for field in ("op", "reduce")}
    for scale in ("laptop", "gpu", "paper"):
        assert fields("2c", scale) == pooled
        assert fields("2d", scale) == {name for name in pooled if name.endswith("op")}
        assert fields("2b", scale) == {"model.heads.0.activation"}
        assert fields("4.2", scale) == {"model.heads.0.class_agnostic"}


def _flatten(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}{key}.")
    elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{path}{index}.")
    else:
        yield path[:-1], value


def test_schedules_of_the_paper(paper):
    def recipe(key, name):
        table = paper.tables.TABLES[key]
        return paper.scales.recipe(table, next(r for r in table.rows if r.name == name), "paper", _places(paper))

    c4 = recipe("2a", "ResNet-50-C4")
    assert (c4.train.images, c4.train.milestones, c4.model.roi_sampler.num_rois) == (160_000 * 16, (0.75,), 64)
    assert recipe("2a", "ResNeXt-101-FPN").train.images == 160_000 * 8  # one image on each of eight GPUs
    joints = recipe("4", "keypoints only")
    assert joints.train.images == 90_000 * 16 and min(joints.data.short_sides) == 640
    updated = recipe("8", "+ updated baseline")
    assert updated.train.images == 180_000 * 8 and updated.model.box_head.nms_iou == 0.5
    assert recipe("8", "original baseline").model.box_head.nms_iou == 0.3
    assert recipe("8", "+ non-local").model.backbone.non_local is not None


def test_verdicts_and_means(paper):
    rendering = paper.rendering
    assert rendering.mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert rendering.mean_and_deviation([5.0]) == (5.0, None)
    # Means 1 and 5; variances 2 and 8 of two runs each: error sqrt(2 / 2 + 8 / 2).
    assert rendering.difference([0.0, 2.0], [3.0, 7.0]) == (4.0, pytest.approx(5**0.5))
    assert rendering.verdict(4.0, 5**0.5, 5.5) == "not clear"
    assert rendering.verdict(4.0, 1.0, 5.5) == "same sign"
    assert rendering.verdict(-4.0, 1.0, 5.5) == "opposite sign"
    assert rendering.verdict(-4.0, None, 5.5) == "opposite sign, of single runs"
    assert rendering.verdict(1.0, 0.1, 0.0) == "none in the paper"


def test_a_table_in_markdown(paper):
    def runs(*values):
        return [{"numbers": {"mask/AP": value}} for value in values]

    table = paper.tables.TABLES["2e"]
    text = paper.rendering.markdown("2e", table, {"MLP, 2 hidden layers": runs(10.0, 12.0), "FCN": runs(19.0, 21.0)})
    lines = text.splitlines()
    assert lines[2] == "|  | mask/AP | mask/AP50 | mask/AP75 |" and lines[3] == "| --- | --- | --- | --- |"
    assert lines[4] == "| MLP, 2 hidden layers | 11.0 ± 1.4 (31.5) | – (53.7) | – (32.8) |"
    assert lines[5].startswith("| MLP, 3 hidden layers | – (31.5) |")
    assert lines[-1] == "| FCN | +9.0 ± 1.4 (+2.1): same sign | – | – |"
    nothing = paper.rendering.markdown("1", paper.tables.TABLES["1"], {})
    assert "MNC, ResNet-101-C4 | – (24.6)" in nothing and "Less" not in nothing


@pytest.fixture
def stubbed(paper, monkeypatch):
    """The sample with runs that take no time; `calls` lists them, and the third one fails."""
    calls = []

    def run(plan, key, row, seed):
        calls.append((row.name, seed))
        if len(calls) == 3:
            raise mrcnn.InputError("the disk is full")
        result = {"seed": seed, "numbers": {"mask/AP": 10.0 * seed}, "recipe": plan.recipe(key, row, seed).to_dict()}
        paper.running.write_json(plan.folder(key, row, seed) / paper.running.RESULT, result)
        return result

    monkeypatch.setattr(paper.running, "run", run)
    paper.calls = calls
    return paper


def test_an_interrupted_table_resumes_row_by_row(stubbed, tmp_path, capsys):
    command = ["--table", "2d", "--seeds", "2", "--out", str(tmp_path), "--data", NOWHERE]
    assert stubbed.run.main(command) == 2
    assert capsys.readouterr().err.endswith("table 2d, row 'RoIAlign', seed 0: the disk is full\n")
    assert stubbed.run.main(command) == 0
    names = ["RoIPool", "RoIWarp (not in the paper)", "RoIAlign"]
    assert stubbed.calls == [*((n, 0) for n in names), (names[2], 0), *((n, 1) for n in names)]
    assert stubbed.run.main(command) == 0 and len(stubbed.calls) == 7  # nothing was left
    folder = tmp_path / "table_2d_laptop"
    content = json.loads((folder / "results.json").read_text())
    assert [row["metrics"]["mask/AP"]["mean"] for row in content["rows"]] == [5.0, 5.0, 5.0]
    assert (folder / "table.md").read_text() in capsys.readouterr().out
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    changed = [*command, "--set", "train.images=7"]
    assert stubbed.run.main(changed) == 2
    assert "table 2d, row 'RoIPool', seed 0" in (error := capsys.readouterr().err) and "choose another --out" in error
    (folder / "roipool_seed0/result.json").write_text("{")
    assert stubbed.run.main(command) == 2
    assert "not the result of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "9z"], "no table '9z'; there are 1, 2a"),
        (["--table", "2d", "--rows", "RoIAling"], "table 2d: no row 'RoIAling'; there are RoIPool"),
        (["--table", "4"], "no image with joints ships with the package; see --data"),
        (["--table", "7"], "table 7, row 'fine', seed 0: Cityscapes is not trained at scale \"laptop\""),
        (["--table", "2d", "--scale", "paper"], "expected COCO 2017: annotations/"),
        (["--table", "2d", "--set", "train.images"], "--set train.images: expected KEY=VALUE"),
        (
            ["--table", "2d", "--weights", "imgenet=a.pth"],
            "--weights imgenet: expected one of imagenet, imagenet5k, coco",
        ),
        (["--table", "2d", "--set", "train.imagse=3"], "table 2d, row 'RoIPool', seed 0"),
    ],
)
def test_bad_input_names_table_and_row(paper, tmp_path, capsys, arguments, message):
    assert paper.run.main([*arguments, "--out", str(tmp_path), "--data", NOWHERE]) == 2
    assert message in capsys.readouterr().err


def test_the_command_line_asks_for_a_table(paper, capsys):
    for arguments in ([], ["--table", "2d", "--seeds", "0"], ["--table", "2d", "--scale", "cluster"]):
        with pytest.raises(SystemExit):
            paper.run.main(arguments)
    assert "--scale" in capsys.readouterr().err


@pytest.mark.slow
def test_classes_that_two_detectors_share_keep_their_weights(paper):
    def model(*names):
        config = dataclasses.replace(tiny_config(), num_classes=len(names))
        return mrcnn.MaskRCNN(config, names)

    source, other = model("person", "dog", "car"), model("rider", "car", "person")
    before = other.box_head.class_logits.bias.numpy().copy()
    source.box_head.class_logits.bias.assign([1.0, 2.0, 3.0, 4.0])
    source.box_head.deltas.bias.assign(list(range(12)))  # (dy, dx, dh, dw) x (person, dog, car)
    assert paper.transfer.load_shared_classes(other, source) == ["car", "person"]
    assert other.box_head.class_logits.bias.numpy().tolist() == [1.0, before[1], 4.0, 2.0]
    assert other.box_head.deltas.bias.numpy().reshape(4, 3)[:, 1:].tolist() == [[2, 0], [5, 3], [8, 6], [11, 9]]
    assert (other.backbone.weights[0].numpy() == source.backbone.weights[0].numpy()).all()
    mine, theirs = (m.heads[0].mask_logits.weights[0].numpy() for m in (other, source))
    assert (mine[..., 1:] == theirs[..., [2, 0]]).all() and (mine[..., 0] != theirs[..., 1]).any()


@pytest.mark.slow
def test_a_row_trains_on_the_shipped_images(paper, tmp_path):
    small = ["model.input.short_side=96", "model.input.long_side=128", "data.crop=null", "train.images=2"]
    small += ["train.batch_size=2", "train.warmup_images=1", "model.roi_sampler.num_rois=16"]
    changes = [argument for change in small for argument in ("--set", change)]
    command = ["--table", "2d", "--seeds", "1", "--rows", "RoIAlign", "--out", str(tmp_path), "--data", NOWHERE]
    assert paper.run.main([*command, *changes]) == 0
    run = tmp_path / "table_2d_laptop/roialign_seed0"
    result = json.loads((run / "result.json").read_text())
    assert result["images"] == [4, 2] and set(result["numbers"]) == set(paper.tables.TABLES["2d"].metrics)
    assert mrcnn.load_model(run).config.heads[0].pool.levels == ("c5",)
