"""What the page shows of one image and what a person has made of it: pure functions of frozen values.

The model is run once at a low score; thresholds, classes and corrections choose among and change what it gave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mrcnn.structures.instances import Instances

START = 0.5
"""The score threshold that a page begins with."""


@dataclasses.dataclass(frozen=True)
class Edits:
    """Corrections of the instances of one image, by their number from 0 in what the model gave.

    Attributes:
        classes: number of the instance -> class id that a person gave it.
        deleted: instances that are neither shown nor saved.
        accepted: instances that are shown and saved whatever their score and their class.
    """

    classes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    deleted: frozenset[int] = frozenset()
    accepted: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Number of instances that were corrected or accepted."""
        return len(set(self.classes) | self.deleted | self.accepted)

    def with_class(self, number: int, class_id: int) -> Edits:
        """One instance given another class, and accepted by that."""
        classes = {**self.classes, number: class_id}
        return Edits(classes, self.deleted - {number}, self.accepted | {number})

    def with_accepted(self, *numbers: int) -> Edits:
        """Instances accepted as they are."""
        return Edits(self.classes, self.deleted - set(numbers), self.accepted | set(numbers))

    def with_deleted(self, number: int) -> Edits:
        """One instance deleted."""
        return Edits(self.classes, self.deleted | {number}, self.accepted - {number})

    def below(self, count: int) -> Edits:
        """Those of the first `count` instances: what was kept of an earlier run, for what the model gives now."""
        classes = {number: class_id for number, class_id in self.classes.items() if number < count}
        deleted, accepted = (frozenset(n for n in held if n < count) for held in (self.deleted, self.accepted))
        return Edits(classes, deleted, accepted)

    def without(self, number: int) -> Edits:
        """One instance as the model gave it."""
        classes = {n: class_id for n, class_id in self.classes.items() if n != number}
        return Edits(classes, self.deleted - {number}, self.accepted - {number})


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One image with all that the model gave of it, and what of that is shown.

    Attributes:
        name: of the image's file.
        pixels: u8[h, w, 3].
        instances: at the lowest score, best first, in pixels of the image.
        seconds: that the model took.
        place: of the image in the folder, from 0; None: it is of none.
        edits: see `Edits`.
        threshold: instances scored below are not shown, unless they are accepted.
        hidden: class ids that are not shown, unless accepted.
        selected: number of the instance whose numbers are shown, or None.
    """

    name: str
    pixels: np.ndarray
    instances: Instances
    seconds: float = 0.0
    place: int | None = None
    edits: Edits = Edits()
    threshold: float = START
    hidden: frozenset[int] = frozenset()
    selected: int | None = None


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of one instance.

    Attributes:
        class_id: as corrected.
        score: 0..1.
        area: of the mask, or of the box where there is none, pixels.
        box: (y1, x1, y2, x2), pixels of the image.
        state: "as found", "accepted" or "corrected".
    """

    class_id: int
    score: float
    area: float
    box: tuple[float, float, float, float]
    state: str


def corrected(view: View) -> Instances:
    """All instances of a view with the classes that a person gave; deleted ones too, so that numbers hold."""
    class_ids = view.instances.class_ids.copy()
    for number, class_id in view.edits.classes.items():
        class_ids[number] = class_id
    whole = view.instances[:]  # masks that nobody has read are shared, not made
    whole.class_ids = class_ids
    return whole


def visible(view: View) -> np.ndarray:
    """i64[k], the numbers of the instances that are shown and would be saved, best score first."""
    scores = _scores(view.instances)
    keep = (scores >= view.threshold) & ~np.isin(corrected(view).class_ids, list(view.hidden))
    keep[list(view.edits.accepted)] = True
    keep[list(view.edits.deleted)] = False
    return np.flatnonzero(keep)


def result(view: View) -> Instances:
    """What is saved: the instances shown, corrected."""
    return corrected(view)[visible(view)]


def class_counts(view: View) -> dict[int, int]:
    """How many instances of each class are at or above the threshold or accepted, hidden classes too; by class id."""
    everything = dataclasses.replace(view, hidden=frozenset())
    ids, counts = np.unique(result(everything).class_ids, return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def pick(view: View, y: float, x: float) -> int | None:
    """The number of the instance at a point of the image: the smallest shown mask there, else the smallest box.

    Args:
        view: what is shown.
        y, x: pixels of the image; pixel i spans [i, i + 1).

    Returns:
        its number in `view.instances`; None: there is none.
    """
    numbers = visible(view)
    shown = view.instances[numbers]
    row, column = int(np.floor(y)), int(np.floor(x))
    hits = [
        (int(bits.sum()), int(number))
        for number, (top, left, bits) in zip(numbers, shown.mask_windows(), strict=False)
        if 0 <= row - top < bits.shape[0] and 0 <= column - left < bits.shape[1] and bits[row - top, column - left]
    ]
    if not hits:
        y1, x1, y2, x2 = shown.boxes.T
        inside = (y1 <= y) & (y < y2) & (x1 <= x) & (x < x2)
        areas = (y2 - y1) * (x2 - x1)
        hits = [(int(areas[i]), int(numbers[i])) for i in np.flatnonzero(inside)]
    return min(hits)[1] if hits else None


def numbers_of(view: View, number: int) -> Numbers:
    """The numbers of one instance."""
    one = corrected(view)[number]
    y1, x1, y2, x2 = (float(v) for v in one.boxes[0])
    windows = [int(bits.sum()) for _, _, bits in one.mask_windows()]
    area = float(windows[0]) if windows else (y2 - y1) * (x2 - x1)
    edits = view.edits
    state = "accepted" if number in edits.accepted else "as found"
    if edits.classes.get(number, view.instances.class_ids[number]) != view.instances.class_ids[number]:
        state = "corrected"
    return Numbers(int(one.class_ids[0]), float(_scores(one)[0]), area, (y1, x1, y2, x2), state)


def edited(view: View, edits: Edits) -> View:
    """The view with other corrections; what is then not shown is not selected."""
    changed = dataclasses.replace(view, edits=edits)
    kept = view.selected is not None and view.selected in visible(changed)
    return changed if kept else dataclasses.replace(changed, selected=None)


def filtered(view: View, threshold: float, hidden: frozenset[int]) -> View:
    """The view at another threshold, with other classes hidden; what is then not shown is not selected."""
    return edited(dataclasses.replace(view, threshold=threshold, hidden=hidden), view.edits)


def _scores(instances: Instances) -> np.ndarray:
    return np.ones(len(instances), np.float32) if instances.scores is None else instances.scores
