from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.average_precision import average_precision
from mrcnn.evaluation.error_analysis import ERRORS, analyze_errors
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances, random_pair

TIDE = {  # tidecv 1.0.1 of the same six images, in percent
    "classification": 6.314479093979735,
    "localization": 21.748048029992546,
    "both": 0.7481550830668837,
    "duplicate": 4.561789436585585,
    "background": 0.6296714919914734,
    "missed": 6.428559953603624,
}
TIDE_COUNTS = (14, 21, 6, 21, 1, 8)


def test_numbers_of_tidecv():
    rng = np.random.default_rng(7)
    pairs = [pair_image(i, *random_pair(rng, masks=False)) for i in range(6)]
    analysis = analyze_errors(pairs)
    assert 100 * analysis.average_precision == pytest.approx(35.52152329781715, abs=1e-9)
    assert {kind: 100 * value for kind, value in analysis.delta.items()} == pytest.approx(TIDE, abs=1e-9)
    assert tuple(analysis.count(kind) for kind in ERRORS) == TIDE_COUNTS
    assert 100 * analysis.false_positives == pytest.approx(33.78540739525216, abs=1e-9)
    assert 100 * analysis.false_negatives == pytest.approx(15.826221193993767, abs=1e-9)


def slow(images):
    """Rows (class, score, correct), number of objects by class, kind of each false positive, missed objects."""
    rows, kinds, missed, objects = [], [], 0, {}
    for image in images:
        used, concerned = set(), set()
        for c in image.gt_class_ids.tolist():
            objects[c] = objects.get(c, 0) + 1
        wrong = []
        for d, c in enumerate(image.class_ids.tolist()):
            best, best_iou = None, 0.5
            for g, gc in enumerate(image.gt_class_ids.tolist()):
                if gc == c and g not in used and image.iou[d, g] >= best_iou:
                    best, best_iou = g, image.iou[d, g]
            rows.append((c, image.scores[d], best is not None))
            if best is None:
                wrong.append(d)
            else:
                used.add(best)
        for d in wrong:
            own = {g: image.iou[d, g] for g, c in enumerate(image.gt_class_ids) if c == image.class_ids[d]}
            other = {g: image.iou[d, g] for g, c in enumerate(image.gt_class_ids) if c != image.class_ids[d]}
            top, top_other = max(own.values(), default=0), max(other.values(), default=0)
            if 0.1 <= top <= 0.5:
                kinds.append("localization")
                concerned.add(max(own, key=own.get))
            elif top_other >= 0.5:
                kinds.append("classification")
                concerned.add(max(other, key=other.get))
            elif top >= 0.5:
                kinds.append("duplicate")
            else:
                kinds.append("background" if max(top, top_other) <= 0.1 else "both")
        missed += len(set(range(len(image.gt_class_ids))) - used - concerned)
    return rows, objects, kinds, missed


def test_equals_the_definition_by_loops(rng):
    images = [pair_image(i, *random_pair(rng)) for i in range(4)]
    analysis = analyze_errors(images)
    rows, objects, kinds, missed = slow(images)
    assert [analysis.count(kind) for kind in ERRORS[:-1]] == [kinds.count(kind) for kind in ERRORS[:-1]]
    assert analysis.count("missed") == missed
    values = []
    for class_id, number in objects.items():
        mine = [row for row in rows if row[0] == class_id]
        values.append(average_precision(np.array([r[1] for r in mine]), np.array([r[2] for r in mine], bool), number))
    assert analysis.average_precision == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize(
    "kind, box, class_id",
    [
        ("localization", [0, 0, 20, 8], 1),
        ("classification", [0, 0, 20, 20], 2),
        ("both", [0, 0, 20, 8], 2),
        ("background", [50, 50, 60, 60], 1),
    ],
)
def test_each_kind_by_hand(kind, box, class_id):
    """One object, one wrong detection: corrected, it is either the object's or gone."""
    analysis = analyze_errors([pair_image(1, instances([[0, 0, 20, 20]]), instances([box], [class_id], [0.9]))])
    assert [e.kind for e in analysis.errors][:1] == [kind] and analysis.average_precision == 0
    assert analysis.delta[kind] == (1.0 if kind in ("localization", "classification") else 0.0)
    assert analysis.count("missed") == (kind in ("both", "background"))


def test_duplicate_and_missed_by_hand():
    ground_truth = instances([[0, 0, 20, 20], [50, 50, 70, 70]])
    prediction = instances([[0, 0, 20, 20], [0, 0, 20, 18]], scores=[0.8, 0.9])
    analysis = analyze_errors([pair_image(1, ground_truth, prediction)])
    assert [(e.kind, e.detection, e.gt) for e in analysis.errors] == [("duplicate", 1, 0), ("missed", None, 1)]
    # One of two objects: precision 1 at the recalls 0 ... 0.50. Without the other one there is all to be had.
    assert analysis.average_precision == pytest.approx(51 / 101)
    assert analysis.delta["missed"] == pytest.approx(50 / 101) and analysis.delta["duplicate"] == 0


def test_crowds_are_no_errors_and_nothing_is_nothing():
    crowd = instances([[0, 0, 50, 50]], is_crowd=[True])
    assert analyze_errors([pair_image(1, crowd, instances([[0, 0, 9, 9]], scores=[0.9]))]).errors == ()
    nothing = analyze_errors([])
    assert np.isnan(nothing.average_precision) and np.isnan(list(nothing.delta.values())).all()
