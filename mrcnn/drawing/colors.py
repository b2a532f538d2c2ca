"""Which color each instance is drawn in. Colors are u8 RGB."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Literal, Union

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

Colors = Union[Literal["auto", "class", "instance"], Mapping[int, Sequence[int]], np.ndarray]  # noqa: UP007

# Bright enough for dark backgrounds, saturated enough for light ones. Each is the one farthest from all before it, in
# CIELAB as people see it who lack none or one kind of cones (Machado et al. 2009, table of severity 1).
PALETTE = np.array(
    [
        (255, 165, 20), (0, 187, 255), (153, 0, 255), (204, 0, 51), (204, 238, 153), (187, 34, 153), (85, 153, 102),
        (136, 102, 238), (221, 102, 34), (0, 255, 204), (255, 221, 102), (153, 187, 102), (238, 102, 221),
        (170, 17, 187), (255, 170, 221), (170, 85, 119),
    ],
    np.uint8,
)  # fmt: skip
CROWD = np.array((150, 150, 150), np.uint8)
_NEAR = 8  # how many neighbors an instance's color should differ from
_LIGHTNESS = (0.0, 0.14, -0.12, 0.24, 0.07, -0.06)  # steps that tell instances of one class apart


def class_color(class_id: int) -> np.ndarray:
    """u8[3] of a class id; colors repeat after the palette's length, slightly shifted in hue."""
    round_, place = divmod(int(class_id) - 1, len(PALETTE))
    return PALETTE[place] if not round_ else _shifted(PALETTE[place], hue=0.045 * round_)


def assign(instances: Instances, colors: Colors = "auto", several_classes: bool | None = None) -> np.ndarray:
    """A color for each instance.

    Args:
        instances: n of them.
        colors: "class" = one color a class; "instance" = neighbors differ; "auto" = "instance" where there is one
            class only, otherwise a color a class with its lightness varied from instance to instance; or a mapping
            from class id to RGB; or u8[n, 3], a color for each instance, such as `track_colors`.
        several_classes: whether the data has more than one class; None = look at these instances.

    Returns:
        u8[n, 3].
    """
    if several_classes is None:
        several_classes = len(set(instances.class_ids.tolist())) > 1
    if isinstance(colors, np.ndarray):
        if colors.shape != (len(instances), 3):
            raise InputError(f"colors: expected one for each instance, ({len(instances)}, 3), got {colors.shape}")
        chosen = list(colors)
    elif isinstance(colors, Mapping):
        chosen = [colors.get(int(c), class_color(c)) for c in instances.class_ids]
    elif colors == "class":
        chosen = [class_color(c) for c in instances.class_ids]
    elif colors == "instance" or (colors == "auto" and not several_classes):
        chosen = list(PALETTE[_unlike_neighbors(instances.boxes)])
    elif colors == "auto":
        chosen = []
        seen: dict[int, int] = {}
        for c in instances.class_ids.tolist():
            step = seen[c] = seen.get(c, -1) + 1
            chosen.append(_shifted(class_color(c), lightness=_LIGHTNESS[step % len(_LIGHTNESS)]))
    else:
        raise InputError(f"colors {colors!r}: expected 'auto', 'class', 'instance' or a mapping of class ids to RGB")
    drawn = np.array(chosen, np.uint8).reshape(len(instances), 3)
    if instances.is_crowd is not None:
        drawn[instances.is_crowd] = CROWD
    return drawn


def track_colors(numbers: np.ndarray) -> np.ndarray:
    """u8[n, 3] of i64[n] from 1, the numbers that a `Tracker` gives: an object keeps its color from frame to frame."""
    return np.stack([class_color(number) for number in numbers]) if len(numbers) else np.zeros((0, 3), np.uint8)


def text_color(background: np.ndarray) -> tuple[int, int, int]:
    """Black or white, whichever reads better on a background color."""
    return (0, 0, 0) if float(background @ np.array([0.299, 0.587, 0.114])) > 140 else (255, 255, 255)


def _unlike_neighbors(boxes: np.ndarray) -> np.ndarray:
    """i[n], palette places such that boxes close to each other differ as far as the palette goes."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    places = np.full(len(boxes), -1)
    uses = np.zeros(len(PALETTE), int)
    for i in range(len(boxes)):
        distance = np.square(centers - centers[i]).sum(1)
        distance[places < 0] = np.inf  # only those colored already
        near = [j for j in np.argsort(distance)[:_NEAR] if np.isfinite(distance[j])]
        taken = set(places[near].tolist())
        free = [p for p in range(len(PALETTE)) if p not in taken]
        places[i] = min(free, key=lambda p: (uses[p], p))
        uses[places[i]] += 1
    return places


def _shifted(color: np.ndarray, hue: float = 0.0, lightness: float = 0.0) -> np.ndarray:
    h, light, s = colorsys.rgb_to_hls(*(np.asarray(color) / 255))
    rgb = colorsys.hls_to_rgb((h + hue) % 1, min(max(light + lightness, 0.25), 0.85), s)
    return np.round(np.array(rgb) * 255).astype(np.uint8)
