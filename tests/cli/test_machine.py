from __future__ import annotations

from tests.cli.runner import invoke


def test_doctor_answers_and_nothing_that_is_missing_raises():
    result = invoke("doctor")
    assert result.exit_code == 0
    for subject in ("Python", "TensorFlow", "keras", "GPUs", "RoIAlign", "cores"):
        assert subject in result.stdout
