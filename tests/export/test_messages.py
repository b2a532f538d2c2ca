"""Exports write nothing to the terminal but what matters."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.export.messages import without_lines, without_records
from tests.export.conftest import FORMATS

ROOT = Path(__file__).parents[2]

EXPORT = """
import sys
import mrcnn
mrcnn.quiet_start()
from tests.tiny_model import noise_images, tiny_model
model = tiny_model()
for name in sys.argv[2:]:
    suffix = {"openvino": ".xml", "saved_model": ""}.get(name, f".{name}")
    path = getattr(mrcnn, f"export_{name}")(model, f"{sys.argv[1]}/model{suffix}", images=noise_images(1))
    if name == "saved_model":
        import tensorflow as tf
        tf.saved_model.load(str(path))
    else:
        getattr(mrcnn, f"load_{name}")(path)
"""


@pytest.mark.slow
def test_exports_and_loaders_are_silent(tmp_path):
    for _, _, packages in FORMATS.values():
        for package in packages:
            pytest.importorskip(package)
    command = [sys.executable, "-c", EXPORT, tmp_path, *FORMATS, "saved_model"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MRCNN_ROI_ALIGN": "python"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    assert done.stdout == ""


def test_only_the_named_records_are_left_out(caplog):
    logger = logging.getLogger("some.converter")
    with without_records("some.converter", "^Cannot infer"):
        logger.warning("Cannot infer %s", "this")
        logger.warning("something else: Cannot infer")
        logger.error("it failed")
    logger.warning("Cannot infer that")
    assert [record.getMessage() for record in caplog.records] == [
        "something else: Cannot infer",
        "it failed",
        "Cannot infer that",
    ]


def test_only_the_named_lines_are_left_out(capfd):
    with without_lines("^INFO: Created"):
        os.write(2, b"INFO: Created a delegate\nERROR: no memory\n")
        os.write(2, b"the last, without an end")
    os.write(2, b"\nINFO: Created, after it\n")
    assert capfd.readouterr().err == ("ERROR: no memory\nthe last, without an end\nINFO: Created, after it\n")


def test_what_was_written_before_an_error_is_shown(capfd):
    def fail():
        with without_lines("^INFO"):
            os.write(2, b"INFO: all is well\nit is not\n")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert capfd.readouterr().err == "it is not\n"
