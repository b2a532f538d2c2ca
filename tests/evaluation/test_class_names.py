from __future__ import annotations

import pytest

from mrcnn.evaluation.class_names import compare_class_names, distinct_labels

TWELVE = [f"c{i}" for i in range(1, 13)]


@pytest.mark.parametrize(
    "model, data, sentence",
    [
        (TWELVE, TWELVE, None),
        ([], [], None),
        (
            TWELVE,
            [*TWELVE[:4], "C5", *TWELVE[5:]],
            "1 of 12 class names differs: class 5 is 'c5' in the model and 'C5' in the data set",
        ),
        (
            TWELVE,
            [*TWELVE[:4], "x", "y ", *TWELVE[6:]],
            "2 of 12 class names differ: class 5 is 'c5' in the model and 'x' in the data set",
        ),
        (
            TWELVE,
            [*TWELVE[:2], "c4", "c3", *TWELVE[4:]],
            "only the order of the 12 classes differs: class 3 is 'c3' in the model and 'c4' in the data set",
        ),
        (
            TWELVE,
            [*TWELVE[:2], *TWELVE[3:]],
            "the model has 12 classes, the data set 11: class 3 is 'c3' in the model and 'c4' in the data set",
        ),
        (TWELVE[:11], TWELVE, "the model has 11 classes, the data set 12: class 12, 'c12', is only in the data set"),
        (TWELVE, TWELVE[:11], "the model has 12 classes, the data set 11: class 12, 'c12', is only in the model"),
        (["a"], [], "the model has 1 classes, the data set 0: class 1, 'a', is only in the model"),
        (["cat"], ["cat "], "1 of 1 class names differs: class 1 is 'cat' in the model and 'cat ' in the data set"),
        (["a\n"], ["a"], "1 of 1 class names differs: class 1 is 'a\\n' in the model and 'a' in the data set"),
    ],
)
def test_the_first_difference_its_place_and_both_names(model, data, sentence) -> None:
    assert compare_class_names(model, data) == sentence
    assert compare_class_names(tuple(model), tuple(data)) == sentence


def test_both_sides_can_be_named() -> None:
    assert "in the run and 'b' in the folder" in compare_class_names(["a"], ["b"], "the run", "the folder")


def test_labels_are_distinct() -> None:
    assert distinct_labels(["a", "b"], [1, 2]) == ("a", "b")
    assert distinct_labels(["a", "b", "a"], [1, 2, 9]) == ("a (1)", "b", "a (9)")
    for names, ids in ((["a", "a", "a"], [7, 7, 7]), (["a (1)", "a", "a"], [5, 1, 2])):
        assert len(set(distinct_labels(names, ids))) == 3
