from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.modeling.backbones.base import LEVELS
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.weights.report import LoadReport, WeightsError, assign, named_variables


def _variables(**shapes: tuple[int, ...]) -> dict[str, keras.Variable]:
    return {name: keras.Variable(np.zeros(shape, np.float32)) for name, shape in shapes.items()}


def test_assign_reports_every_name() -> None:
    variables = _variables(a=(2,), b=(3,), c=(1,))
    report = assign(variables, {"a": np.ones(2), "b": np.ones(4), "d": np.ones(1)}, "file")
    assert report == LoadReport("file", ("a",), (("b", (4,), (3,)),), ("c",), ("d",))
    assert not report.is_complete
    np.testing.assert_array_equal(variables["a"], [1, 1])
    np.testing.assert_array_equal(variables["b"], [0, 0, 0])


def test_report_reads_as_a_table() -> None:
    names = tuple(f"head/norm/{leaf}" for leaf in ("gamma", "beta"))
    text = str(LoadReport("file", ("a",), (("b", (4, 2), (3, 2)),), names, ("d.weight",)))
    assert text.splitlines() == [
        "file: 1 loaded, 1 skipped for their shape, 2 missing, 1 unused",
        "  skipped  b: [4, 2] in the file, [3, 2] in the model",
        "  missing  head/norm (2 arrays)",
        "  unused   d.weight",
    ]


@pytest.mark.parametrize("arrays", [{}, {"x": np.ones(2)}, {"a": np.ones(5)}])
def test_nothing_matched_is_an_error(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(WeightsError, match="file: nothing in it fits the model"):
        assign(_variables(a=(2,)), arrays, "file")


def test_strict_touches_nothing_unless_all_fits() -> None:
    variables = _variables(a=(2,), b=(3,))
    with pytest.raises(WeightsError, match="does not fit"):
        assign(variables, {"a": np.ones(2)}, "file", strict=True)
    np.testing.assert_array_equal(variables["a"], [0, 0])
    assert assign(variables, {"a": np.ones(2), "b": np.ones(3), "c": np.ones(1)}, "file", strict=True).is_complete


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_before_any_variable_is_set(bad: float) -> None:
    variables = _variables(a=(1,), b=(2,))
    with pytest.raises(WeightsError, match="file: b holds NaN or infinity"):
        assign(variables, {"a": np.ones(1), "b": np.array([1, bad])}, "file")
    np.testing.assert_array_equal(variables["a"], [0])


class _House(keras.Model):
    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        image = keras.Input((None, None, 3))
        self.backbone = keras.Model(image, keras.layers.Conv2D(2, 1, name="stem_conv1")(image), name="backbone")
        self.fpn = FPNConfig(channels=4).build(dict.fromkeys(LEVELS, 2), {"c2": 4, "c3": 8, "c4": 16, "c5": 32})
        self.head = keras.layers.Dense(2, name="head")

    def build(self, *_: object) -> None:
        self.head.build((None, 4))


def test_names_do_not_depend_on_the_model_s_name() -> None:
    first, second = _House(name="one"), _House(name="two")
    first.build()
    second.build()
    names = list(named_variables(first))
    assert names == list(named_variables(second))
    assert {"backbone/stem_conv1/kernel", "fpn/lateral2/kernel", "fpn/output5/bias", "head/bias"} <= set(names)
    assert len(names) == len(first.weights)
    assert list(named_variables(first.backbone)) == ["stem_conv1/kernel", "stem_conv1/bias"]
