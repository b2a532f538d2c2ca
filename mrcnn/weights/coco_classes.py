"""Names and ids of the classes of COCO, for files that number the classes and do not name them."""

from __future__ import annotations

# In the order of the annotation files' ids, from 1; an id that no image ever had is empty.
_NAMES = (
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant||stop sign|"
    "parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe||backpack|umbrella|||handbag|"
    "tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|"
    "tennis racket|bottle||wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|"
    "hot dog|pizza|donut|cake|chair|couch|potted plant|bed||dining table|||toilet||tv|laptop|mouse|remote|keyboard|"
    "cell phone|microwave|oven|toaster|sink|refrigerator||book|clock|vase|scissors|teddy bear|hair drier|"
    "toothbrush"
)
CATEGORIES: dict[int, str] = {i: name for i, name in enumerate(_NAMES.split("|"), start=1) if name}
"""Name of each of the 80 things by its id in the annotation files."""
NOT_A_CLASS = "N/A"
"""Name of a class that has weights but never had an image."""


def coco_classes(num_classes: int, is_person_only: bool = False) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """Names and ids of the classes of a network trained on COCO, or None if the number fits none.

    Args:
        num_classes: things only: 80, numbered without gaps; 90, numbered by their ids.
        is_person_only: a keypoint network with its one class.
    """
    if num_classes == len(CATEGORIES):
        return tuple(CATEGORIES.values()), tuple(CATEGORIES)
    if num_classes == max(CATEGORIES):
        ids = tuple(range(1, num_classes + 1))
        return tuple(CATEGORIES.get(i, NOT_A_CLASS) for i in ids), ids
    if num_classes == 1 and is_person_only:
        return (CATEGORIES[1],), (1,)
    return None
