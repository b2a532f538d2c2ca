from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from mrcnn.data.pipeline import images_in_work, make_pipeline
from tests.data.pipeline.rectangles import INPUT, SMALL, Rectangles


def test_a_process_with_a_live_endless_pipeline_ends() -> None:
    code = (
        "from mrcnn.data.pipeline import make_pipeline\n"
        "from tests.data.pipeline.rectangles import *\n"
        "it = iter(make_pipeline(Rectangles(), INPUT, CROP, 2, training=True, repeat=True)); next(it)"
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, timeout=120)


def test_an_image_that_takes_long_is_named() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Rectangles):
        def load_image(self, index: int) -> np.ndarray:
            entered.set()
            leave.wait(30)
            return super().load_image(index)

    iterator = iter(make_pipeline(Slow(1), INPUT, SMALL, 1, training=True))
    thread = threading.Thread(target=lambda: next(iterator))
    thread.start()
    assert entered.wait(30)
    names = [name for name, _ in images_in_work()]
    leave.set()
    thread.join()
    assert names == ["image 100 (None)"]
    assert images_in_work() == []
