"""Which ops have a gradient; their values are test_op.py's."""

import pytest
from tensorflow.python.framework.ops import gradient_registry

from mrcnn.native.gradients import register_gradients

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["RoiAlign", "RoiAlignGrad", "MultilevelRoiAlign", "MultilevelRoiAlignGrad", "RoiPool"]
)
def test_the_roi_ops_are_differentiable(op, name):
    assert callable(gradient_registry.lookup(f"Mrcnn{name}"))


def test_they_are_registered_once(op):
    with pytest.raises(KeyError, match="MrcnnRoiAlign"):
        register_gradients(op)
