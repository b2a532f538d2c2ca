from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.inference import agreement as module
from mrcnn.inference.agreement import CheckedRun, agreement
from mrcnn.modeling import precision
from mrcnn.modeling.precision import is_unchecked, precision_of, set_precision
from tests.tiny_model import blank_image, noise_images, tiny_model


def detections(*rows):
    """One image's output of rows (y1, x1, y2, x2, score, class)."""
    table = np.array(rows, np.float32).reshape(1, -1, 6)
    return {
        "boxes": tf.constant(table[..., :4]),
        "scores": tf.constant(table[..., 4]),
        "class_ids": tf.constant(table[..., 5].astype(np.int32)),
        "valid": tf.ones(table.shape[:2], bool),
    }


A, B = (0, 0, 10, 10, 0.9, 1), (20, 20, 40, 30, 0.7, 2)


@pytest.mark.parametrize(
    "result, expected",
    [
        ((A, B), 1.0),
        ((B, A), 1.0),
        ((A,), 2 / 3),
        ((A, (20, 20, 40, 30, 0.7, 1)), 0.5),  # another class
        ((A, (20, 20, 40, 37, 0.7, 2)), 0.5),  # IoU 200 / 340
        ((A, (20, 20, 40, 30, 0.55, 2)), 0.5),  # another score
        ((A, (20, 20, 40, 30, 0.61, 2), (50, 50, 60, 60, 0.3, 1)), 1.0),  # one that is not confident counts for nothing
    ],
)
def test_hand_numbers(result, expected):
    assert agreement(detections(A, B), detections(*result)) == pytest.approx(expected)


def test_nothing_to_compare():
    empty = detections()
    assert agreement(empty, empty) is None
    assert agreement(detections(A), empty) == 0.0
    padded = {**detections(A), "valid": tf.zeros((1, 1), bool)}
    assert agreement(padded, padded) is None


@pytest.fixture
def fast_machine(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_instructions", lambda: "avx512_bf16")


@pytest.mark.slow
def test_a_model_that_agrees_keeps_its_precision(fast_machine, caplog):
    model = tiny_model()
    expected = mrcnn.detect(model, noise_images(1))
    set_precision(model, "auto")
    with caplog.at_level(logging.INFO, "mrcnn.inference.agreement"):
        mrcnn.detect(model, blank_image(80, 80))
        assert is_unchecked(model)  # nothing was detected
        result = mrcnn.detect(model, noise_images(1))
    assert (precision_of(model), is_unchecked(model)) == ("bfloat16", False)
    assert "agree" in caplog.text
    assert [len(r) for r in result] == pytest.approx([len(r) for r in expected], abs=2)


def test_a_model_that_differs_computes_in_float32_and_says_so(fast_machine, caplog, monkeypatch):
    monkeypatch.setattr(module, "agreement", lambda *_: 0.5)
    model = tiny_model()
    expected = mrcnn.detect(model, noise_images(1))
    set_precision(model, "auto")
    result = mrcnn.detect(model, noise_images(1))
    assert precision_of(model) == "float32"
    assert "only 50 % of the detections" in caplog.text
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_without_detections_the_instructions_decide(fast_machine):
    model = tiny_model()
    set_precision(model, "auto")
    calls: list[str] = []

    def run(name):
        return lambda batch: calls.append(name) or batch

    checked = CheckedRun(model, run("low"), run("reference"))
    for _ in range(5):
        checked(detections())
    assert calls == ["reference", "low"] * 4 + ["low"]
    assert precision_of(model) == "bfloat16"
