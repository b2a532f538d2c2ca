"""What a run reports while it trains."""

from __future__ import annotations

import logging

from mrcnn import progress
from mrcnn.training.fit import train
from mrcnn.training.progress_log import ProgressLog
from tests.mean_color import MeanColor, write_set
from tests.training.test_resume import recipe_of

CHANGES = {"train__unfreeze": [], "train__train_layers": "all", "data__crop": None}


def test_a_line_of_steps_and_one_of_numbers_for_each_epoch(monkeypatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    lines: list[str] = []
    shown = ProgressLog(lines.append)
    shown.set_params({"epochs": 2, "steps": 3})
    shown.on_epoch_begin(1)
    shown.on_train_batch_end(0, {"loss": 2.5, "rpn_box": 1.0, "images_per_s": 12.34, "data_wait": 0.125})
    shown.on_train_batch_end(1, None)
    shown.on_epoch_end(1, {"loss": 1.25, "val_mask/AP": 0.123456})
    assert lines[0] == "epoch 2 of 2: 1 of 3 steps, loss 2.5, 12.3 images/s, data_wait 0.12"
    assert lines[1].startswith("epoch 2 of 2: 2 of 3 steps")
    assert lines[2:] == ["epoch 2 of 2: loss 1.25, val_mask/AP 0.1235"]


def test_no_control_characters_and_few_lines_where_standard_error_is_no_terminal(tmp_path, capfd) -> None:
    """115 steps were 54 kB of control characters."""
    data = write_set(tmp_path / "images", num=23, side=16)
    recipe = recipe_of(train__images=230, **CHANGES)
    train(MeanColor(), data, recipe=recipe, out=tmp_path / "run")
    out, err = capfd.readouterr()
    assert out == ""
    assert not set(err) & set("\r\b\x1b")
    lines = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in lines if "steps" not in line] == [f"epoch {i} of 10" for i in range(1, 11)]
    assert len(lines) < 15


def test_silent_on_request_and_lines_to_a_function(tmp_path, capfd, caplog) -> None:
    data = write_set(tmp_path / "images", num=2, side=16)
    recipe = recipe_of(train__images=4, **CHANGES)
    train(MeanColor(), data, recipe=recipe, progress=False)
    lines: list[str] = []
    with caplog.at_level(logging.WARNING):
        train(MeanColor(), data, recipe=recipe, log=lines.append)
    assert capfd.readouterr() == ("", "")
    assert lines[0].startswith("epoch 1 of 2: 1 of 1 steps, loss ")
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 1 of 2", "epoch 2 of 2"]
