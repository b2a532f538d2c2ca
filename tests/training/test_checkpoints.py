"""The checkpoints of a run as files: what they hold, which are kept, and what becomes of damaged ones."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.variables import named_variables
from mrcnn.training.checkpoints import Checkpoints
from mrcnn.training.fit import train
from tests.mean_color import write_set
from tests.training.drawn import SIDE, small_model
from tests.training.test_resume import recipe_of


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_checkpoint_says_which_arrays_are_the_weights(tmp_path, average: float, precision: str):
    """Those that evaluation and model.safetensors have: the average where there is one."""
    model = small_model()
    data = write_set(tmp_path / "images", num=2, side=SIDE)
    recipe = recipe_of(train__images=4, train__weight_average=average, train__precision=precision, train__unfreeze=[])
    train(model, data, recipe=recipe, out=tmp_path / "run", progress=False)
    metadata, state = Checkpoints(tmp_path / "run").newest()
    assert (metadata["model"], metadata["class_names"], metadata["category_ids"]) == (
        model.config.to_dict(),
        ["thing", "other"],
        [3, 8],
    )
    named = named_variables(model)
    assert set(metadata["weights"]) == set(named)
    for path, name in metadata["weights"].items():
        np.testing.assert_array_equal(state[name], named[path].numpy(), err_msg=path)
    averages = [name for name in metadata["weights"].values() if name.startswith("optimizer/")]
    assert bool(averages) == bool(average)
