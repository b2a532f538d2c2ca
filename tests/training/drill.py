"""A short training run to be killed; test_resume.py starts it in processes of its own.

They are forked from one that has imported all this already: what is killed is training, not the import of TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcnn.files import atomic_write
from mrcnn.training.fit import train
from tests.mean_color import write_set
from tests.training.drawn import SIDE, small_model, weights
from tests.training.test_resume import recipe_of

END = "end.npz"


def run(folder: str) -> None:
    """Start, or resume, 36 steps with a checkpoint after each; leaves its weights in `END`."""
    data = write_set(Path(folder) / "images", num=7, side=SIDE)
    model = small_model()
    recipe = recipe_of(train__checkpoint_images=2, train__images=60)
    train(model, data, recipe=recipe, out=Path(folder) / "run", resume=True, progress=False)
    with atomic_write(Path(folder) / END) as temporary:
        np.savez(temporary, **weights(model))
