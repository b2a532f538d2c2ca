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
# Of COCO panoptic: ids from 92, those of "...-merged" several classes of COCO-Stuff in one.
_STUFF = (
    "92 banner|93 blanket|95 bridge|100 cardboard|107 counter|109 curtain|112 door-stuff|118 floor-wood|119 flower|"
    "122 fruit|125 gravel|128 house|130 light|133 mirror-stuff|138 net|141 pillow|144 platform|145 playingfield|"
    "147 railroad|148 river|149 road|151 roof|154 sand|155 sea|156 shelf|159 snow|161 stairs|166 tent|168 towel|"
    "171 wall-brick|175 wall-stone|176 wall-tile|177 wall-wood|178 water-other|180 window-blind|181 window-other|"
    "184 tree-merged|185 fence-merged|186 ceiling-merged|187 sky-other-merged|188 cabinet-merged|189 table-merged|"
    "190 floor-other-merged|191 pavement-merged|192 mountain-merged|193 grass-merged|194 dirt-merged|"
    "195 paper-merged|196 food-other-merged|197 building-other-merged|198 rock-merged|199 wall-other-merged|"
    "200 rug-merged"
)
STUFF: dict[int, str] = {int(i): name for i, name in (entry.split(" ", 1) for entry in _STUFF.split("|"))}
"""Name of each of the 53 stuff classes by its id in the panoptic annotation files."""
NOT_A_CLASS = "N/A"
"""Name of a class that has weights but never had an image."""


def stuff_classes(number: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids of the stuff classes of a network: COCO's if the number fits, else "stuff 1", "stuff 2", ...

    Example:
        >>> stuff_classes(53)[0][:2], stuff_classes(2)
        (('banner', 'blanket'), (('stuff 1', 'stuff 2'), (1, 2)))
    """
    if number == len(STUFF):
        return tuple(STUFF.values()), tuple(STUFF)
    return tuple(f"stuff {k}" for k in range(1, number + 1)), tuple(range(1, number + 1))


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
