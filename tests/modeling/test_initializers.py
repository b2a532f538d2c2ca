"""Blank kernels are zeros inside the block only, and a model made in it is whole once its file is read."""

from __future__ import annotations

import numpy as np

from mrcnn.modeling.initializers import blank_kernels, fan_out_initializer, normal_initializer
from mrcnn.modeling.layers import ConvNorm


def _kernel() -> np.ndarray:
    layer = ConvNorm(8, 3)
    layer.build((None, None, None, 4))
    return np.asarray(layer.kernel)


def test_kernels_are_blank_inside_only():
    with blank_kernels():
        assert not _kernel().any()
        assert not np.any(normal_initializer(1.0)((3, 3)))
        assert not np.any(fan_out_initializer()((3, 3, 2, 2)))
    assert _kernel().all()
    assert np.all(np.asarray(normal_initializer(1.0)((3, 3))))


def test_a_failure_inside_ends_the_block():
    try:
        with blank_kernels():
            raise RuntimeError
    except RuntimeError:
        pass
    assert _kernel().all()


def test_the_layer_keeps_its_initializer():
    with blank_kernels():
        layer = ConvNorm(8, 3, kernel_initializer="he_normal")
        layer.build((None, None, None, 4))
    assert layer.get_config()["kernel_initializer"]["class_name"] == "HeNormal"
