"""`python -m tests.export.machine DIR` exports the tiny model on this machine and runs the exports.

It writes DIR/answers.npz: the model's detections and those of its ONNX and OpenVINO files. The environment says which
machine it believes to be on, see test_machines.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mrcnn.export.onnx import export_onnx, load_onnx
from mrcnn.export.openvino import export_openvino, load_openvino
from mrcnn.inference import detect
from tests.tiny_model import noise_images, tiny_model


def main(folder: Path) -> None:
    model = tiny_model()
    runs = {
        "model": model,
        "onnx": load_onnx(export_onnx(model, folder / "model.onnx")),
        "openvino": load_openvino(export_openvino(model, folder / "model.xml")),
    }
    answers = {}
    for name, run in runs.items():
        for index, result in enumerate(detect(run, noise_images(4), score_threshold=None)):
            for field in ("boxes", "scores", "class_ids"):
                answers[f"{name}/{index}/{field}"] = getattr(result, field)
            answers[f"{name}/{index}/masks"] = np.packbits(np.asarray(result.masks))
    np.savez(folder / "answers.npz", **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
