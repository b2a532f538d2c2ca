"""The label config of a Label Studio project: which tags draw on which image, and which labels stand for which classes.

Ref: Label Studio's documentation, "Label and annotate data: Tags".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mrcnn.data.formats.label_studio_writer import KINDS
from mrcnn.data.formats.xml_text import Element, parse_xml
from mrcnn.errors import InputError
from mrcnn.text import printable

_TAGS = {
    "polygonlabels": "polygon",
    "brushlabels": "brush",
    "rectanglelabels": "rectangle",
    "keypointlabels": "keypoint",
}


@dataclasses.dataclass(frozen=True)
class Control:
    """One tag with labels.

    Attributes:
        kind: "polygon", "brush", "rectangle" or "keypoint".
        name: of the tag, "from_name" in results.
        labels: its labels, each with further names of classes that it stands for (`predicted_values`).
    """

    kind: str
    name: str
    labels: tuple[tuple[str, tuple[str, ...]], ...]

    def label_of(self, class_name: str) -> str | None:
        """The label that stands for a class; upper and lower case are one."""
        wanted = class_name.strip().casefold()
        for label, others in self.labels:
            if wanted in (label.strip().casefold(), *(other.strip().casefold() for other in others)):
                return label
        return None


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """What a model has to know of a project.

    Attributes:
        image: name of the image's tag, "to_name" in results.
        key: the key of a task's data that holds the image's address.
        controls: the first tag of each kind that draws on this image, by kind.
        labels: class name -> kind -> label, of the classes that have any.
    """

    image: str
    key: str
    controls: Mapping[str, Control]
    labels: Mapping[str, Mapping[str, str]]


def read_label_config(text: str, class_names: Sequence[str]) -> LabelConfig:
    """The tags of a label config that a model can fill.

    A class stands for the label of its own name, or one that names it in `predicted_values="a,b"`. Where there is one
    class and one label they mean each other, whatever they are called.

    Args:
        text: XML.
        class_names: of the model.

    Raises:
        DataError: not XML.
        InputError: no tag that draws on an image, or none whose labels are classes of the model.

    Example:
        >>> config = read_label_config(
        ...     '<View><Image name="img" value="$photo"/><BrushLabels name="b" toName="img">'
        ...     '<Label value="Cat"/></BrushLabels></View>', ["cat", "dog"])
        >>> config.key, config.labels
        ('photo', {'cat': {'brush': 'Cat'}})
    """
    root = parse_xml(text.encode(), "label config")
    images = {
        tag.get("name", ""): tag.get("value", "")[1:]
        for tag in root.iter()
        if _is(tag, "image") and tag.get("value", "").startswith("$")
    }
    controls_of: dict[str, dict[str, Control]] = {name: {} for name in images}
    for tag in root.iter():
        kind, target = _TAGS.get(_name(tag)), tag.get("toName", "").partition(",")[0].strip()
        if kind is not None and target in images:
            controls_of[target].setdefault(kind, Control(kind, tag.get("name", ""), _labels(tag)))
    for image, controls in controls_of.items():
        if any(kind in controls for kind in KINDS):
            return LabelConfig(image, images[image], controls, _labels_of_classes(controls, class_names))
    raise InputError(
        'label config: expected an Image with value="$..." and PolygonLabels, BrushLabels or RectangleLabels whose'
        " toName is its name"
    )


def _labels_of_classes(controls: Mapping[str, Control], class_names: Sequence[str]) -> dict[str, dict[str, str]]:
    areas = {kind: control for kind, control in controls.items() if kind in KINDS}
    labels: dict[str, dict[str, str]] = {}
    for name in class_names:
        own = {kind: label for kind, control in areas.items() if (label := control.label_of(name)) is not None}
        if own:
            labels[name] = own
    every = {label for control in areas.values() for label, _ in control.labels}
    if not labels and len(class_names) == 1 and len(every) == 1:
        (label,) = every
        labels[class_names[0]] = {kind: label for kind, control in areas.items() if control.labels}
    if not labels:
        known, wanted = (", ".join(map(printable, names)) for names in (sorted(every), class_names))
        raise InputError(f"label config: its labels are {known or 'none'}, expected some of the model's: {wanted}")
    return labels


def _labels(tag: Element) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (label.get("value", ""), tuple(name for name in label.get("predicted_values", "").split(",") if name.strip()))
        for label in tag.iter()
        if _is(label, "label") and label.get("value")
    )


def _name(tag: Element) -> str:
    return str(tag.tag).casefold()


def _is(tag: Element, name: str) -> bool:
    return _name(tag) == name
