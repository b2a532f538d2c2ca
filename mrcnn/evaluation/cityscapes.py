"""The numbers of Cityscapes, computed by its official evaluation on files written from instances.

The official program (package `cityscapesscripts`, extra "cityscapes") ends the process at an error, writes into the
working folder, and does not run on NumPy 2.4 as it is. So it runs in a process and a folder of its own, with repairs
that change no number.

Ref: Cordts et al., "The Cityscapes Dataset", arXiv 1604.01685, section 4.2; Mask R-CNN, appendix A.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.street_maps import CITYSCAPES
from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.evaluation.metric import GroundTruth, Metric
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import RLE, ImageRecord

_GROUND_TRUTH = "_gtFine_instanceIds.png"
_IMAGE = "_leftImg8bit.png"
_PROGRAM = """
import json, sys
import numpy
if not hasattr(numpy, "in1d"):  # removed in NumPy 2.4
    numpy.in1d = numpy.isin
import cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling as official
official.writeDict2JSON = lambda *_: None  # its copies of the matches, which fail at NumPy's integers
request = json.load(sys.stdin)
args = official.args
args.predictionPath = request["folder"]
args.gtInstancesFile = request["cache"]
args.JSONOutput, args.quiet, args.colorized = False, True, False
result = official.evaluateImgLists(request["predictions"], request["ground_truth"], args)
with open(request["answer"], "w") as file:
    json.dump(result["averages"], file)
"""


class _Detection(NamedTuple):
    label: int  # of Cityscapes, 24 to 33
    score: float
    mask: RLE


class CityscapesMetric(Metric):
    """AP and AP50 of masks as the Cityscapes benchmark states them, over all classes and for each.

    They are not COCO's numbers: every threshold from 0.5 to 0.95 has to be exceeded, predictions that lie in void or
    group regions for the most part do not count, and the area under the curve is not interpolated.

    Args:
        class_names: names of the C classes the detections number from 1; all of them Cityscapes' own. Default: the
            order of the reader of Cityscapes.
        ground_truth: folder with `*_gtFine_instanceIds.png` in it or below; None: beside the images, where Cityscapes
            has them: leftImg8bit/val/ulm/X_leftImg8bit.png and gtFine/val/ulm/X_gtFine_instanceIds.png.
        folder: where the result files stay, in the benchmark's own format, which its server takes; None: they are
            removed.

    Raises:
        InputError: a class that Cityscapes does not evaluate.

    Example:
        >>> metric = CityscapesMetric(["person", "car"])
        >>> mrcnn.evaluate(model, data, metrics=[metric])["cityscapes/AP50"]                  # doctest: +SKIP
        0.581
        >>> CityscapesMetric(["person", "dog"])
        Traceback (most recent call last):
        mrcnn.errors.InputError: class_names: expected classes that Cityscapes evaluates, got 'dog'
    """

    name = "cityscapes"

    def __init__(
        self,
        class_names: Sequence[str] = tuple(CITYSCAPES.values()),
        ground_truth: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        label_of = {name: label for label, name in CITYSCAPES.items()}
        for name in class_names:
            if name not in label_of:
                raise InputError(f"class_names: expected classes that Cityscapes evaluates, got {name!r}")
        self.class_names = tuple(class_names)
        self._labels = [label_of[name] for name in class_names]
        self._ground_truth = None if ground_truth is None else Path(ground_truth)
        self._folder = None if folder is None else Path(folder)
        self._files: dict[str, Path] | None = None
        self._images: dict[str, tuple[Path, list[_Detection]]] = {}

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def get_state(self) -> Any:
        """What `merge` of another machine's metric takes in."""
        return self._images

    def merge(self, state: Any) -> None:
        """Take in the images that another machine has seen."""
        self._images |= state

    def update(self, image_id: int | str, ground_truth: GroundTruth, prediction: Instances) -> None:
        """Take in one image; its ground truth is read from its file by the official program.

        Raises:
            InputError: detections without masks or scores, a class id beyond the names, or a record whose file is not
                one of Cityscapes and no `ground_truth` folder.
            DataError: the file with the ground truth is not there.
        """
        if len(prediction) and (prediction.scores is None or not prediction.has_masks):
            raise InputError(f"image {image_id!r}: Cityscapes evaluates masks with scores, expected both")
        if len(prediction) and int(prediction.class_ids.max()) > len(self._labels):
            raise InputError(
                f"image {image_id!r}: class id {int(prediction.class_ids.max())}, expected at most {len(self._labels)}"
            )
        stem, file = self._file_of(image_id, ground_truth)
        scores: Any = () if prediction.scores is None else prediction.scores
        self._images[stem] = (
            file,
            [
                _Detection(self._labels[class_id - 1], float(score), mask)
                for class_id, score, mask in zip(
                    prediction.class_ids.tolist(), scores, encode_masks(prediction), strict=True
                )
            ],
        )

    def _file_of(self, image_id: int | str, ground_truth: GroundTruth) -> tuple[str, Path]:
        """Stem of an image's files, e.g. "ulm_000000_000019", and the file of its ground truth."""
        path = Path(ground_truth.path) if isinstance(ground_truth, ImageRecord) and ground_truth.path else None
        stem = Path(str(image_id) if path is None else path.name).name.removesuffix(_IMAGE)
        if self._ground_truth is not None:
            if self._files is None:
                self._files = {p.name: p for p in self._ground_truth.rglob(f"*{_GROUND_TRUTH}")}
            file = self._files.get(stem + _GROUND_TRUTH, self._ground_truth / (stem + _GROUND_TRUTH))
        elif path is not None and path.name.endswith(_IMAGE) and "leftImg8bit" in path.parts:
            parts = ["gtFine" if part == "leftImg8bit" else part for part in path.parts[:-1]]
            file = Path(*parts) / (stem + _GROUND_TRUTH)
        else:
            raise InputError(
                f"image {image_id!r}: expected a file leftImg8bit/SPLIT/CITY/*{_IMAGE}, got {path}; or pass"
                " ground_truth"
            )
        if not file.is_file():
            raise DataError(f"{file}: the ground truth of image {image_id!r} is not there")
        return stem, file

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the result files of the benchmark: a text file for each image and a PNG for each mask.

        Returns:
            The text files, in the order of the images seen.
        """
        from pycocotools import mask as coco_mask

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for stem, (_, detections) in self._images.items():
            lines = []
            for number, detection in enumerate(detections):
                name = f"{stem}_{number}.png"
                Image.fromarray(np.asarray(coco_mask.decode(detection.mask)) * np.uint8(255)).save(folder / name)
                lines.append(f"{name} {detection.label} {detection.score:.8g}\n")
            files.append(folder / f"{stem}.txt")
            files[-1].write_text("".join(lines), encoding="utf-8")
        return files

    def compute(self) -> dict[str, float]:
        """The official numbers over all images seen.

        Returns:
            "AP", "AP50", and of each class "AP/person", "AP50/person", ...; -1 for a class of which there is no object.
            Empty: no image seen gives -1 throughout.

        Raises:
            InputError: `cityscapesscripts` is not installed, or fails; its last words follow.
        """
        if not self._images:
            return self._named({})
        if importlib.util.find_spec("cityscapesscripts") is None:
            raise InputError('evaluation by Cityscapes needs its package: pip install "mrcnn-keras[cityscapes]"')
        with tempfile.TemporaryDirectory() as temporary:
            folder = (self._folder or Path(temporary) / "results").absolute()
            answer = Path(temporary) / "answer.json"
            request = {
                "folder": os.fspath(folder),
                "predictions": [os.fspath(file) for file in self.write(folder)],
                "ground_truth": [os.path.abspath(file) for file, _ in self._images.values()],
                "cache": os.path.join(temporary, "gtInstances.json"),
                "answer": os.fspath(answer),
            }
            command = [sys.executable, "-c", _PROGRAM]
            done = subprocess.run(command, input=json.dumps(request), cwd=temporary, capture_output=True, text=True)
            if done.returncode or not answer.exists():  # it ends with status -1, or 0
                words = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
                raise InputError(f"the official evaluation of Cityscapes failed: {words[-1]}")
            return self._named(json.loads(answer.read_text(encoding="utf-8")))

    def _named(self, averages: dict[str, Any]) -> dict[str, float]:
        numbers = {"AP": averages.get("allAp"), "AP50": averages.get("allAp50%")}
        for name in self.class_names:
            of_class = averages.get("classes", {}).get(name, {})
            numbers |= {f"AP/{name}": of_class.get("ap"), f"AP50/{name}": of_class.get("ap50%")}
        return {key: -1.0 if value is None or math.isnan(value) else float(value) for key, value in numbers.items()}
