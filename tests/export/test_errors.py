from __future__ import annotations

import pytest

from mrcnn.errors import MrcnnError
from mrcnn.export.errors import ExportError, reason, require


@pytest.mark.parametrize(
    "error, line",
    [
        (ExportError("model.onnx: no such file"), "model.onnx: no such file"),
        (RuntimeError("\n  first line\nand pages"), "RuntimeError: first line"),
        (KeyError("config"), "KeyError: 'config'"),
        (RuntimeError(), "RuntimeError"),
        (ExportError(), "ExportError"),
    ],
)
def test_the_cause_is_one_line(error, line):
    assert reason(error) == line


def test_a_missing_package_is_named_with_its_own_words_and_the_extra():
    with pytest.raises(ExportError, match=r"no_such_package cannot be imported .*ModuleNotFoundError.*\[onnx\]") as e:
        require("no_such_package", "onnx")
    assert isinstance(e.value, MrcnnError)
    assert isinstance(e.value, RuntimeError)
    assert isinstance(e.value.__cause__, ModuleNotFoundError)
