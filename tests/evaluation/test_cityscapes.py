from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.street_maps import CITYSCAPES
from mrcnn.errors import InputError
from mrcnn.evaluation.cityscapes import CityscapesMetric
from mrcnn.evaluation.metric import metrics
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import ImageRecord

official = pytest.mark.skipif(
    importlib.util.find_spec("cityscapesscripts") is None, reason='needs pip install "mrcnn-keras[cityscapes]"'
)
SHAPE = (60, 80)
NAMES = tuple(CITYSCAPES.values())


def region(top, left, height=20, width=20):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def page(root, number, **values):
    """One image's ground truth of regions by value ("v24001": mask, "v26": a group), and its record."""
    ids = np.full(SHAPE, 7, np.int32)  # road
    for name, mask in values.items():
        ids[mask] = int(name[1:])
    file = root / f"gtFine/val/ulm/ulm_{number:06}_000019_gtFine_instanceIds.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint16)).save(file)
    image = root / f"leftImg8bit/val/ulm/ulm_{number:06}_000019_leftImg8bit.png"
    return ImageRecord(f"ulm/{image.stem}", str(image), *SHAPE)


def detections(*items):
    """Instances of (class name, score, mask)."""
    masks = np.array([mask for _, _, mask in items]).reshape(-1, *SHAPE)
    boxes = [[*np.argwhere(m).min(0), *(np.argwhere(m).max(0) + 1)] for m in masks]
    classes = [NAMES.index(name) + 1 for name, _, _ in items]
    return Instances(np.reshape(boxes, (-1, 4)), classes, SHAPE, [score for _, score, _ in items], masks)


def test_result_files_are_the_benchmarks(tmp_path):
    metric = CityscapesMetric()
    found_nothing = page(tmp_path, 2, v24001=region(0, 0))
    metric.update(1, page(tmp_path, 1), detections(("car", 0.5, region(3, 4)), ("bicycle", 0.25, region(30, 40, 5, 9))))
    metric.update(2, found_nothing, detections())
    files = metric.write(tmp_path / "results")
    assert [file.name for file in files] == ["ulm_000001_000019.txt", "ulm_000002_000019.txt"]
    assert files[0].read_text() == "ulm_000001_000019_0.png 26 0.5\nulm_000001_000019_1.png 33 0.25\n"
    assert files[1].read_text() == ""
    mask = np.asarray(Image.open(files[0].with_name("ulm_000001_000019_1.png")))
    np.testing.assert_array_equal(mask > 0, region(30, 40, 5, 9))
    other = CityscapesMetric()
    other.merge(metric.get_state())
    assert [file.name for file in other.write(tmp_path / "again")] == [file.name for file in files]


def test_no_image_gives_no_numbers():
    numbers = CityscapesMetric(["person", "car"]).compute()
    assert numbers == dict.fromkeys(("AP", "AP50", "AP/person", "AP50/person", "AP/car", "AP50/car"), -1.0)
    assert metrics()["cityscapes"] is CityscapesMetric


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="class_names: expected classes that Cityscapes evaluates, got 'dog'"):
        CityscapesMetric(["person", "dog"])
    metric, record = CityscapesMetric(["person"]), page(tmp_path, 1)
    with pytest.raises(InputError, match="image 5: class id 3, expected at most 1"):
        metric.update(5, record, detections(("car", 0.5, region(3, 4))))
    boxes = Instances([[0, 0, 4, 4]], [1], SHAPE, [0.5])
    with pytest.raises(InputError, match="image 5: Cityscapes evaluates masks with scores"):
        metric.update(5, record, boxes)
    with pytest.raises(InputError, match=r"image 5: expected a file leftImg8bit/SPLIT/CITY/.*; or pass ground_truth"):
        metric.update(5, ImageRecord(5, "a.png", *SHAPE), detections())
    with pytest.raises(DataError, match=r"ulm_7_gtFine_instanceIds\.png: the ground truth of image 'ulm_7' is not"):
        CityscapesMetric(ground_truth=tmp_path).update("ulm_7", ImageRecord("ulm_7", None, *SHAPE), detections())


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    metric = CityscapesMetric()
    metric.update(1, page(tmp_path, 1), detections())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install \"mrcnn-keras\[cityscapes\]\""):
        metric.compute()


@official
@pytest.mark.slow
def test_numbers_of_hand_made_pages(tmp_path):
    metric = CityscapesMetric(folder=tmp_path / "results")
    # A person found with IoU 300 / 400 = 0.75, which exceeds 5 of the 10 thresholds; a car found exactly; a second car
    # missed; a bicycle predicted where a group of bicycles is, which counts neither way.
    record = page(tmp_path, 1, v24001=region(0, 0), v26001=region(0, 30), v26002=region(30, 0), v33=region(30, 40))
    predicted = (("person", 0.9, region(0, 0, 15, 20)), ("car", 0.8, region(0, 30)), ("bicycle", 0.7, region(30, 40)))
    metric.update(1, record, detections(*predicted))
    # A rider of whom nothing is found.
    metric.update(2, page(tmp_path, 2, v25001=region(0, 0)), detections())
    numbers = metric.compute()
    # One prediction, one of two objects found: the points (recall, precision) = (1/2, 1) and (0, 1), area 1/2.
    expected = {"person": (0.5, 1.0), "rider": (0.0, 0.0), "car": (0.5, 0.5)}
    for name in NAMES:
        assert (numbers[f"AP/{name}"], numbers[f"AP50/{name}"]) == pytest.approx(expected.get(name, (-1, -1))), name
    assert (numbers["AP"], numbers["AP50"]) == pytest.approx((1 / 3, 1 / 2))
    assert (tmp_path / "results/ulm_000001_000019.txt").is_file()


@official
@pytest.mark.slow
def test_numbers_are_those_of_the_program_on_files_written_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    program = importlib.import_module("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
    monkeypatch.setattr(program, "writeDict2JSON", lambda *_: None)  # it fails at NumPy's integers
    metric, rng = CityscapesMetric(), np.random.default_rng(0)
    (tmp_path / "byhand").mkdir()
    for number in range(4):
        places = [(int(rng.integers(0, 40)), int(rng.integers(0, 60))) for _ in range(5)]
        labels = rng.choice(list(CITYSCAPES), 5).tolist()
        values = {
            f"v{label * 1000 + k}": region(*place) for k, (label, place) in enumerate(zip(labels, places, strict=True))
        }
        record = page(tmp_path, number, **values)
        items, lines = [], []
        for k, (label, (top, left)) in enumerate(zip(labels, places, strict=True)):
            mask = region(top, max(0, left - int(rng.integers(0, 6))))
            score = round(float(rng.random()), 3)
            items.append((CITYSCAPES[label], score, mask))
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"byhand/{number}_{k}.png")
            lines.append(f"{number}_{k}.png {label} {score}\n")
        (tmp_path / f"byhand/{number}.txt").write_text("".join(lines))
        metric.update(number, record, detections(*items))
    program.args.predictionPath, program.args.gtInstancesFile = str(tmp_path / "byhand"), str(tmp_path / "cache.json")
    program.args.JSONOutput, program.args.quiet = False, True
    truths = sorted(str(file) for file in (tmp_path / "gtFine").rglob("*.png"))
    texts = sorted(str(file) for file in (tmp_path / "byhand").glob("*.txt"))
    expected = program.evaluateImgLists(texts, truths, program.args)["averages"]
    numbers = metric.compute()
    assert numbers["AP"] == pytest.approx(expected["allAp"]) and numbers["AP50"] == pytest.approx(expected["allAp50%"])
    assert 0 < numbers["AP"] < 1
    for name in NAMES:
        of_class = expected["classes"][name]
        for ours, theirs in (("AP", "ap"), ("AP50", "ap50%")):
            assert numbers[f"{ours}/{name}"] == pytest.approx(np.nan_to_num(of_class[theirs], nan=-1.0))
