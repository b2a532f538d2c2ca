from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.evaluation import CocoMetric, EvaluationResult, Metric, evaluate_coco_files
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord
from tests.evaluation.scene import instances
from tests.reference import average_precision as reference

AREAS = {"AP": (0, 1e10), "APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10)}


def random_images(seed, num_images=6, side=(100, 120)):
    """Ground truth and jittered findings, boxes and masks, with crowd regions, doubles, misses and false alarms."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(num_images):
        num = rng.integers(0, 6)
        top_left = rng.uniform(0, 60, (num, 2))
        boxes = np.concatenate([top_left, np.minimum(top_left + rng.uniform(8, 60, (num, 2)), side)], 1)
        wanted = rng.choice(num, rng.integers(0, 2 * num + 1)) if num else np.zeros(0, int)
        matches = np.concatenate([boxes[wanted] + rng.normal(0, 2, (len(wanted), 4)), rng.uniform(0, 40, (2, 4))])
        matches[:, 2:] = np.maximum(matches[:, 2:], matches[:, :2] + 3)
        matches = np.clip(matches, 0, [*side, *side]).astype(np.float32)
        images.append(
            {
                "boxes": boxes.astype(np.float32),
                "crowd": rng.random(num) < 0.2,
                "classes": rng.integers(1, 3, num),
                "found": matches,
                "found_classes": np.concatenate([np.array([1, 2]), rng.integers(1, 3, len(wanted))])[: len(matches)],
                "scores": rng.permutation(len(matches)) / 17 + rng.random(len(matches)) / 50,
            }
        )
    return images


def rasterize(boxes, side=(100, 120)):
    """Ellipses inside the boxes."""
    y, x = np.mgrid[: side[0], : side[1]] + 0.5
    masks = [((y - (b[0] + b[2]) / 2) / (b[2] - b[0])) ** 2 + ((x - (b[1] + b[3]) / 2) / (b[3] - b[1])) ** 2 <= 0.25
             for b in boxes]  # fmt: skip
    return np.array(masks, bool).reshape(len(boxes), *side)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_dets", [(1, 10, 100), (1, 2, 3)])
def test_equals_plain_reference(seed, max_dets):
    images = random_images(seed)
    metric = CocoMetric(["a", "b"], max_dets=max_dets)
    for i, p in enumerate(images):
        ground_truth = instances(p["boxes"], p["classes"], masks=rasterize(p["boxes"]), is_crowd=p["crowd"])
        metric.update(i, ground_truth, instances(p["found"], p["found_classes"], p["scores"], rasterize(p["found"])))
    numbers = metric.compute()
    for kind, iou_of in (("box", reference.box_iou), ("mask", reference.mask_iou)):
        by_class = []
        for class_id in (1, 2):
            plain = []
            for p in images:
                mine, matches = p["classes"] == class_id, p["found_classes"] == class_id
                gt_masks, found_masks = rasterize(p["boxes"][mine]), rasterize(p["found"][matches])
                rounded = np.round(p["found"][matches].astype(float), 3)
                sides = rounded[:, 2:] - rounded[:, :2]
                plain.append(
                    {
                        "ground_truth": p["boxes"][mine].astype(float) if kind == "box" else gt_masks,
                        "area": gt_masks.sum((1, 2)),
                        "crowd": p["crowd"][mine].tolist(),
                        "found": rounded if kind == "box" else found_masks,
                        "found_area": sides.prod(1) if kind == "box" else found_masks.sum((1, 2)),
                        "scores": p["scores"][matches].tolist(),
                    }
                )
            by_class.append(
                {name: reference.mean_average_precision(plain, iou_of, r, max_dets[-1]) for name, r in AREAS.items()}
            )
        for name in AREAS:
            values = [row[name] for row in by_class if row[name] >= 0]
            assert numbers[f"{kind}/{name}"] == pytest.approx(np.mean(values) if values else -1, abs=1e-9), name


def test_hand_numbers():
    # Two objects, three detections best first: right, wrong, right. Precision is 1 up to recall 1/2 (51 of the 101
    # levels), then 2/3.
    metric = CocoMetric(["thing"])
    ground_truth = instances([[0, 0, 40, 40], [50, 50, 90, 90]])
    metric.update(
        7, ground_truth, instances([[0, 0, 40, 40], [0, 60, 30, 90], [50, 50, 90, 90]], scores=[0.9, 0.8, 0.7])
    )
    numbers = metric.compute()
    assert numbers["box/AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert numbers["box/AR1"] == pytest.approx(0.5)
    assert numbers["box/AR100"] == 1
    assert numbers["box/APs"] == -1
    assert numbers["box/APl"] == -1
    assert "mask/AP" not in numbers


def test_perfect_detections_reach_one_and_none_reach_zero():
    images = random_images(5)
    perfect, nothing = CocoMetric(["a", "b"]), CocoMetric(["a", "b"])
    for i, p in enumerate(images):
        masks = rasterize(p["boxes"])
        ground_truth = instances(p["boxes"], p["classes"], masks=masks)
        perfect.update(i, ground_truth, instances(p["boxes"], p["classes"], np.full(len(masks), 0.9), masks))
        nothing.update(i, ground_truth, Instances.empty((100, 120)))
    assert perfect.compute()["mask/AP"] == pytest.approx(1)
    assert perfect.compute()["box/AR100"] == pytest.approx(1)
    assert nothing.compute()["mask/AP"] == 0
    assert nothing.compute()["box/AP"] == 0


def test_no_objects_at_all():
    metric = CocoMetric(["thing"])
    metric.update(1, Instances.empty((100, 120)), instances([[0, 0, 9, 9]], scores=[0.5]))
    assert set(metric.compute().values()) == {-1.0}
    assert "n/a" in str(metric.result())
    assert CocoMetric(["thing"]).compute()["box/AP"] == -1


def test_crowd_region_is_neither_found_nor_missed():
    metric = CocoMetric(["thing"])
    ground_truth = instances([[0, 0, 40, 40], [50, 0, 100, 100]], is_crowd=[False, True])
    matches = instances([[0, 0, 40, 40], [60, 10, 80, 30], [60, 40, 80, 60]], scores=[0.5, 0.9, 0.8])
    metric.update(1, ground_truth, matches)
    assert metric.compute()["box/AP"] == pytest.approx(1)
    assert metric.result().num_crowd == 1
    assert metric.result().num_objects == 1


def test_record_as_ground_truth_keeps_the_files_areas_and_polygons():
    square = np.array([[10, 10], [50, 10], [50, 50], [10, 50]], float)
    as_file = {
        "images": [{"id": 3, "height": 100, "width": 120}],
        "categories": [{"id": 9, "name": "thing"}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 9, "bbox": [10, 10, 40, 40], "area": 90.0, "iscrowd": 0,
             "segmentation": [square.ravel().tolist()]}
        ],
    }  # fmt: skip
    record = ImageRecord(3, None, 100, 120, (Annotation(1, (10, 10, 50, 50), [square], area=90.0),))
    mask = np.zeros((1, 100, 120), bool)
    mask[0, 10:50, 10:47] = True
    matches = instances([[10, 10, 50, 47]], scores=[0.5], masks=mask)
    metric = CocoMetric(["thing"], [9])
    metric.update(3, record, matches)
    numbers, detections = metric.compute(), metric.result().detections
    assert numbers["box/APs"] == pytest.approx(0.9)  # small by its stated area; IoU 0.925, nine thresholds below it
    for kind in ("box", "mask"):
        from_files = evaluate_coco_files(as_file, detections, kind)
        assert {f"{kind}/{k}": v for k, v in from_files.items()} == {
            k: v for k, v in numbers.items() if k.startswith(kind)
        }


def test_saved_files_give_the_same_numbers(tmp_path):
    metric = CocoMetric(["a", "b"], [4, 11])
    ground_truths = []
    for i, p in enumerate(random_images(8)):
        ground_truth = instances(p["boxes"], p["classes"], masks=rasterize(p["boxes"]), is_crowd=p["crowd"])
        metric.update(
            i + 1, ground_truth, instances(p["found"], p["found_classes"], p["scores"], rasterize(p["found"]))
        )
        ground_truths += [(i + 1, ground_truth)]
    result = metric.result()
    metrics, detections = result.save(tmp_path / "deep" / "run")
    assert sorted(p.name for p in metrics.parent.iterdir()) == ["detections.json", "metrics.json"]
    saved = json.loads(metrics.read_text())
    assert saved["numbers"] == result.numbers
    assert json.loads(result.to_json()) == saved
    annotations = [
        {"image_id": i, "category_id": [4, 11][c - 1], "bbox": [float(b[1]), float(b[0]), float(b[3]) - float(b[1]),
         float(b[2]) - float(b[0])], "area": float(m.sum()), "iscrowd": int(k)}
        for i, t in ground_truths for b, c, m, k in zip(t.boxes, t.class_ids, t.masks, t.is_crowd, strict=True)
    ]  # fmt: skip
    ground_truth = {
        "images": [{"id": i} for i, _ in ground_truths],
        "categories": [{"id": 4, "name": "a"}, {"id": 11, "name": "b"}],
        "annotations": annotations,
    }
    again = evaluate_coco_files(ground_truth, detections, "box")
    assert again == {k.split("/")[1]: v for k, v in result.numbers.items() if k.startswith("box")}


def test_per_class_table_and_curves():
    metric = CocoMetric(["seen", "absent", "missed"], [2, 5, 6])
    ground_truth = instances([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 3])
    metric.update("image a", ground_truth, instances([[0, 0, 40, 40]], [1], [0.9]))
    metric.update("image b", ground_truth, instances([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2], [0.8, 0.7]))
    result = metric.result()
    assert isinstance(result, EvaluationResult)
    assert isinstance(metric, Metric)
    assert [row["category_id"] for row in result.per_class.values()] == [2, 5, 6]
    assert result.per_class["seen"]["box/AP"] == 1
    assert result.per_class["seen"]["objects"] == 2
    assert result.per_class["absent"]["box/AP"] == -1
    assert result.per_class["absent"]["detections"] == 1
    assert result.per_class["missed"]["box/AP"] == 0
    assert result["box/AP"] == pytest.approx(0.5)
    curve = result.curves["box"]
    assert curve["recall"].shape == (101,)
    assert curve["precision"]["0.50"] == pytest.approx(np.full(101, 0.5))
    assert curve["per_class"]["missed"]["0.50"] == pytest.approx(np.zeros(101))
    assert result.detections[0]["image_id"] == "image a"
    assert result.detections[-1]["category_id"] == 5
    text = str(result)
    assert "2 images, 4 objects, 3 detections" in text
    assert "AP50" in text
    assert "missed" in text


def test_keypoints_through_the_metric():
    rng = np.random.default_rng(0)
    joints = np.concatenate([rng.uniform(20, 90, (1, 17, 2)), np.full((1, 17, 1), 2)], 2)
    ground_truth = instances([[20, 20, 90, 90]], keypoints=joints)
    metric = CocoMetric(["person"])
    metric.update(1, ground_truth, instances([[20, 20, 90, 90]], scores=[0.9], keypoints=joints))
    assert metric.compute()["keypoints/AP"] == pytest.approx(1)
    assert len([k for k in metric.compute() if k.startswith("keypoints")]) == 10
    five = CocoMetric(["person"])
    five.update(1, instances([[20, 20, 90, 90]], keypoints=joints[:, :5]),
                instances([[20, 20, 90, 90]], scores=[0.9], keypoints=joints[:, :5] + [0.5, 0, 0]))  # fmt: skip
    assert 0 < five.compute()["keypoints/AP"] <= 1


def test_images_seen_elsewhere_are_merged():
    whole, one, two = (CocoMetric(["a", "b"]) for _ in range(3))
    for number, p in enumerate(random_images(3)):
        ground_truth = instances(p["boxes"], p["classes"], masks=rasterize(p["boxes"]), is_crowd=p["crowd"])
        matches = instances(p["found"], p["found_classes"], p["scores"], rasterize(p["found"]))
        for metric in (whole, one if number < 4 else two):
            metric.update(number, ground_truth, matches)
    merged = CocoMetric(["a", "b"])
    assert merged.compute()["box/AP"] == -1
    for part in (one, two):
        merged.merge(part.get_state())
    assert merged.result().numbers == whole.result().numbers
    assert merged.result().detections == whole.result().detections
    with pytest.raises(ValueError, match="image 4 was given twice"):
        merged.merge(two.get_state())


def test_reset_forgets():
    metric = CocoMetric(["thing"])
    metric.update(1, instances([[0, 0, 40, 40]]), Instances.empty((100, 120)))
    assert metric.compute()["box/AP"] == 0
    metric.reset()
    metric.update(1, instances([[0, 0, 40, 40]]), instances([[0, 0, 40, 40]], scores=[0.3]))
    assert metric.compute()["box/AP"] == pytest.approx(1)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="max_dets"):
        CocoMetric(["a"], max_dets=(10, 1))
    with pytest.raises(ValueError, match="kind 'boxes'"):
        CocoMetric(["a"], kinds=["boxes"])
    metric = CocoMetric(["a"])
    metric.update(1, Instances.empty((9, 9)), Instances.empty((9, 9)))
    with pytest.raises(ValueError, match="image 1 was given twice"):
        metric.update(1, Instances.empty((9, 9)), Instances.empty((9, 9)))
    with pytest.raises(ValueError, match="image 2: class id 2"):
        metric.update(2, Instances.empty((9, 9)), instances([[0, 0, 1, 1]], [2], [0.5], shape=(9, 9)))
    with pytest.raises(ValueError, match="image 3: ground truth has shape"):
        metric.update(3, Instances.empty((8, 9)), Instances.empty((9, 9)))
    assert metric.result().num_images == 1  # a refused image leaves no trace


def test_evaluation_is_silent(capsys):
    metric = CocoMetric(["thing"])
    metric.update(1, instances([[0, 0, 40, 40]]), Instances.empty((100, 120)))
    metric.compute()
    assert capsys.readouterr().out == ""


def test_import_leaves_pycocotools_alone():
    code = "import sys, mrcnn.evaluation; sys.exit('pycocotools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_of_one_name_have_rows_of_their_own():
    metric = CocoMetric(["dog", "cat", "dog"], [3, 5, 18])
    ground_truth = instances([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 3])
    metric.update(1, ground_truth, instances([[0, 0, 40, 40]], [1], [0.9]))
    rows = metric.result().per_class
    assert list(rows) == ["dog (3)", "cat", "dog (18)"]
    assert [row["objects"] for row in rows.values()] == [1, 0, 1]
    assert [row["box/AP"] for row in rows.values()] == pytest.approx([1, -1, 0])
    assert list(metric.result().curves["box"]["per_class"]) == list(rows)
    assert "dog (18)" in str(metric.result())


def test_ids_may_have_any_size_and_order():
    """Classes of two sources with one id; ids beyond 64 bits; what is detected is written with the ids given."""
    plain = CocoMetric(["a", "b", "c"])
    ids = [[10**30, 5, 2**63], [7, 7, 7], [9, 3, 6]]
    others = [CocoMetric(["a", "b", "c"], i) for i in ids]
    for number, p in enumerate(random_images(9)):
        ground_truth = instances(p["boxes"], p["classes"], is_crowd=p["crowd"])
        matches = instances(p["found"], p["found_classes"], p["scores"])
        plain.update(number, ground_truth, matches)
        for metric in others:
            metric.update(2**63 + number, ground_truth, matches)
    for metric, category_ids in zip(others, ids, strict=True):
        assert metric.compute() == pytest.approx(plain.compute(), abs=1e-12)
        rows = [{k: v for k, v in row.items() if k != "category_id"} for row in metric.result().per_class.values()]
        expected = [{k: v for k, v in row.items() if k != "category_id"} for row in plain.result().per_class.values()]
        assert rows == expected
        for one, other in zip(metric.result().detections, plain.result().detections, strict=True):
            assert one["category_id"] == category_ids[other["category_id"] - 1]
            assert one["image_id"] == 2**63 + other["image_id"]


def test_no_attribute_is_born_after_construction():
    metric = CocoMetric(["thing"])
    names = set(vars(metric))
    metric.update(1, instances([[0, 0, 40, 40]]), instances([[0, 0, 40, 40]], scores=[0.3]))
    metric.result()
    metric.reset()
    assert set(vars(metric)) == names
