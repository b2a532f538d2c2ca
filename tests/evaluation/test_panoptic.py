from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.evaluation.panoptic import PanopticQuality, evaluate_panoptic_files
from mrcnn.structures.panoptic import PanopticSegments, Segment

SAMPLE = Path(__file__).parents[3] / "shared/data/formats/coco_panoptic_sample"


def segments_of(ids: np.ndarray, rng: np.random.Generator, crowds: float = 0.0) -> PanopticSegments:
    """A map whose ids get classes: things 1..3, stuff 1..2."""
    segments = []
    for number in np.unique(ids[ids > 0]).tolist():
        is_thing = number % 3 > 0
        is_crowd = is_thing and bool(rng.uniform() < crowds)
        segments.append(Segment(number, 1 + number % (3 if is_thing else 2), is_thing, None, is_crowd))
    return PanopticSegments(ids, tuple(segments))


def blocks(rng: np.random.Generator, shift: int) -> np.ndarray:
    ids = np.zeros((40, 60), int)
    for number, (y, x) in enumerate(np.ndindex(4, 5), start=1):
        ids[y * 10 : y * 10 + 8, x * 12 : x * 12 + 11] = number
    return np.roll(ids, rng.integers(0, shift + 1, 2), (0, 1))


def slow(
    images: list[tuple[PanopticSegments, PanopticSegments]],
) -> dict[tuple[bool, int], tuple[float, int, int, int]]:
    """Class -> (sum of IoU, matches, only predicted, only true), mask by mask."""
    table: dict[tuple[bool, int], list[float]] = {}
    for ground_truth, prediction in images:
        void = ground_truth.ids == 0
        taken: set[int] = set()
        for t in (s for s in ground_truth.segments if not s.is_crowd):
            row = table.setdefault((t.is_thing, t.class_id), [0, 0, 0, 0])
            for p in (s for s in prediction.segments if (s.is_thing, s.class_id) == (t.is_thing, t.class_id)):
                a, b = ground_truth.mask(t.id), prediction.mask(p.id) & ~void
                iou = (a & b).sum() / (a | b).sum()
                if iou > 0.5:
                    row[0], row[1] = row[0] + iou, row[1] + 1
                    taken.add(p.id)
                    break
            else:
                row[3] += 1
        for p in (s for s in prediction.segments if s.id not in taken):
            ignored = void.copy()
            same = [
                s for s in ground_truth.segments if s.is_crowd and (s.is_thing, s.class_id) == (p.is_thing, p.class_id)
            ]
            for s in same[-1:]:
                ignored |= ground_truth.mask(s.id)
            if (ignored & prediction.mask(p.id)).sum() <= 0.5 * prediction.mask(p.id).sum():
                table.setdefault((p.is_thing, p.class_id), [0, 0, 0, 0])[2] += 1
    return {key: (row[0], int(row[1]), int(row[2]), int(row[3])) for key, row in table.items()}


def test_equals_counting_mask_by_mask(rng: np.random.Generator) -> None:
    images = []
    for _ in range(6):
        ground_truth = segments_of(np.where(rng.uniform(size=(40, 60)) < 0.1, 0, blocks(rng, 3)), rng, crowds=0.2)
        images.append((ground_truth, segments_of(blocks(rng, 6), rng)))
    quality = PanopticQuality()
    for pair in images:
        quality.update(*pair)
    expected = slow(images)
    rows = {}
    for key, (iou, matched, only_predicted, only_true) in expected.items():
        total = matched + 0.5 * only_predicted + 0.5 * only_true
        if total:
            rows[key] = (iou / total, iou / matched if matched else 0.0, matched / total)
    table = quality.per_class()
    assert set(table) == set(rows) and any(row["matched"] for row in table.values())
    for key, row in table.items():
        assert (row["PQ"], row["SQ"], row["RQ"]) == pytest.approx(rows[key])
        assert row["PQ"] == pytest.approx(row["SQ"] * row["RQ"])
    numbers = quality.compute()
    assert numbers["PQ"] == pytest.approx(np.mean([row[0] for row in rows.values()]))
    assert numbers["SQ_stuff"] == pytest.approx(np.mean([row[1] for (thing, _), row in rows.items() if not thing]))


def test_nothing_seen_and_maps_of_two_sizes() -> None:
    quality = PanopticQuality()
    assert all(np.isnan(value) for value in quality.compute().values()) and quality.per_class() == {}
    with pytest.raises(InputError, match=r"expected a map \[2, 2\], got \[2, 3\]"):
        quality.update(PanopticSegments(np.zeros((2, 2), int), ()), PanopticSegments(np.zeros((2, 3), int), ()))


def write(folder: Path, name: str, ids: np.ndarray, infos: list[dict[str, Any]], **more: Any) -> Path:
    (folder / name).mkdir()
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(colors).save(folder / name / "1.png")
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": infos}], **more})
    )
    return path


CATEGORIES = [{"id": 4, "isthing": 1, "name": "cat"}, {"id": 90, "isthing": 0, "name": "sky"}]


def test_files(tmp_path: Path) -> None:
    ids = np.array([[70000, 70000, 300, 300]] * 3)
    infos = [{"id": 70000, "category_id": 4, "iscrowd": 0}, {"id": 300, "category_id": 90}]
    ground_truth = write(tmp_path, "ground_truth", ids, infos, categories=CATEGORIES)
    ids[:, 1] = 300
    numbers = evaluate_panoptic_files(ground_truth, write(tmp_path, "own", ids, infos))
    assert numbers["PQ_stuff"] == pytest.approx(2 / 3) and numbers["PQ_things"] == 0  # 1/2 is no match


@pytest.mark.parametrize(
    "change, message",
    [
        ({"infos": [{"id": 1, "category_id": 4}]}, r"holds the ids \[2\], which .*own.json does not list"),
        ({"infos": [{"id": i, "category_id": 4} for i in (1, 2, 3)]}, "segment 3 has no pixel in .*1.png"),
        ({"infos": [{"id": 1, "category_id": 5}, {"id": 2, "category_id": 4}]}, "expected an id and a known category"),
        ({"ids": np.array([[1, 2, 2]])}, r"image 1: its map is \[1, 3\], expected \[1, 2\]"),
    ],
)
def test_bad_files(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    infos = [{"id": 1, "category_id": 4}, {"id": 2, "category_id": 90}]
    good: dict[str, Any] = {"ids": np.array([[1, 2]]), "infos": infos}
    ground_truth = write(tmp_path, "ground_truth", **good, categories=CATEGORIES)
    with pytest.raises(DataError, match=message):
        evaluate_panoptic_files(ground_truth, write(tmp_path, "own", **(good | change)))


def test_files_that_lack_an_image_or_are_something_else(tmp_path: Path) -> None:
    ground_truth = write(
        tmp_path, "ground_truth", np.array([[1]]), [{"id": 1, "category_id": 4}], categories=CATEGORIES
    )
    own = tmp_path / "own.json"
    for text, message in (('{"annotations": []}', "image 1 has no annotation"), ("[]", 'a list "annotations"')):
        own.write_text(text)
        with pytest.raises(DataError, match=message):
            evaluate_panoptic_files(ground_truth, own)


PANOPTICAPI = {
    "PQ": 0.5766182009143535,
    "SQ": 0.6390745290147414,
    "RQ": 0.7756410256410255,
    "PQ_things": 0.357989639448711,
    "SQ_things": 0.4829022956494868,
    "RQ_things": 0.5512820512820512,
    "PQ_stuff": 0.7952467623799959,
    "SQ_stuff": 0.7952467623799959,
    "RQ_stuff": 1.0,
}


def test_numbers_of_panopticapi(tmp_path: Path) -> None:
    """Its sample, moved by three rows and five columns; `pq_compute` of panopticapi says the numbers."""
    if not SAMPLE.is_dir():
        pytest.skip("the sample of panopticapi is not here")
    (tmp_path / "own").mkdir()
    content = json.loads((SAMPLE / "panoptic_examples.json").read_text())
    for annotation in content["annotations"]:
        image = np.asarray(Image.open(SAMPLE / "panoptic_examples" / annotation["file_name"]))
        Image.fromarray(np.roll(image, (3, -5), (0, 1))).save(tmp_path / "own" / annotation["file_name"])
    (tmp_path / "own.json").write_text(json.dumps(content))
    numbers = evaluate_panoptic_files(SAMPLE / "panoptic_examples.json", tmp_path / "own.json")
    assert numbers == pytest.approx(PANOPTICAPI, abs=1e-12)
