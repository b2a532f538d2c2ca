from __future__ import annotations

import json
from importlib import resources

import pytest

from mrcnn.weights.lvis_classes import NUM_CLASSES, lvis_classes


def test_names_of_both_versions() -> None:
    """Some of each, by the ids they have in the annotation files."""
    assert NUM_CLASSES == 1203
    for num, some in (
        (1203, {1: "aerosol_can", 3: "airplane", 139: "bowl", 793: "person", 1203: "zucchini"}),
        (1230, {1: "acorn", 805: "baby", 1230: "zucchini"}),
    ):
        names, ids = lvis_classes(num)
        assert len(set(names)) == num and ids == tuple(range(1, num + 1))
        assert {k: names[k - 1] for k in some} == some
    assert lvis_classes(80) is None


@pytest.mark.parametrize(
    ("package", "file"),
    [("mrcnn.weights", "lvis_classes.json"), ("mrcnn.modeling.losses", "image_counts.json")],
)
def test_the_files_say_where_they_are_from(package: str, file: str) -> None:
    content = json.loads(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
    assert "LVIS" in content["source"] and "CC BY 4.0" in content["source"]
