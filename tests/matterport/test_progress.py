from __future__ import annotations

import re
import sys

import pytest

from mrcnn.matterport.keras_model import LOSSES, _in_order
from mrcnn.matterport.progress import Progress

LOGS = {name: float(i) for i, name in enumerate(sorted(["loss", *LOSSES.values()]))}


def _train(progress):
    progress.set_params({"epochs": 2, "steps": 4})
    progress.on_epoch_begin(0)
    for batch in range(4):
        progress.on_train_batch_end(batch, LOGS)
    progress.on_epoch_end(0, LOGS | {f"val_{name}": value for name, value in LOGS.items()})


def test_losses_come_in_matterports_order_without_escape_sequences(capsys):
    _train(Progress(_in_order))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out and "\b" not in out
    epoch, line = out.splitlines()
    assert epoch == "Epoch 1/2" and re.match(r"4/4 \[={30}\] - 0s \d+ms/step - loss: ", line)
    # What plotters of saved logs look for.
    assert re.search(r"/step - loss: 0.0000e\+00 - rpn_class_loss: ", line) and " - val_rpn_class_loss: " in line
    names = re.findall(r" - (\w+): ", line)
    order = ["loss", "rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"]
    assert names == [*order, *(f"val_{name}" for name in order)]


@pytest.mark.parametrize("lines, count", [(False, 5), (True, 1)])
def test_a_terminal_has_its_line_written_over(capsys, monkeypatch, lines, count):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _train(Progress(_in_order, lines))
    out = capsys.readouterr().out
    assert out.count("/step") == count and out.count("\r") == (0 if lines else 5) and "\x1b" not in out


def test_own_names_follow():
    assert list(_in_order({"zeta": 1, "val_loss": 1, "alpha": 1, "mrcnn_mask_loss": 1, "loss": 1})) == [
        "loss", "mrcnn_mask_loss", "val_loss", "zeta", "alpha",
    ]  # fmt: skip
