"""Class names: compared between a model and a data set, and made distinct where several are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def compare_class_names(
    model_names: Sequence[str], data_names: Sequence[str], model: str = "the model", data: str = "the data set"
) -> str | None:
    """How the classes of a data set differ from those of a model, in one sentence; None where they are the same.

    Args:
        model_names, data_names: name of class 1, 2, ...
        model, data: what the sentence calls them.

    Example:
        >>> compare_class_names(["cat", "dog"], ["cat", "dgo"])
        "1 of 2 class names differs: class 2 is 'dog' in the model and 'dgo' in the data set"
        >>> compare_class_names(["cat", "dog"], ["dog", "cat"])
        "only the order of the 2 classes differs: class 1 is 'cat' in the model and 'dog' in the data set"
    """
    model_names, data_names = list(model_names), list(data_names)
    if model_names == data_names:
        return None
    shared = min(len(model_names), len(data_names))
    places = [k for k in range(shared) if model_names[k] != data_names[k]]
    first = ""
    if places:
        k = places[0]
        first = f": class {k + 1} is {model_names[k]!r} in {model} and {data_names[k]!r} in {data}"
    if len(model_names) == len(data_names):
        if Counter(model_names) == Counter(data_names):
            return f"only the order of the {shared} classes differs{first}"
        return f"{len(places)} of {shared} class names differ{'s' if len(places) == 1 else ''}{first}"
    longer, names = (model, model_names) if len(model_names) > shared else (data, data_names)
    if not places:
        first = f": class {shared + 1}, {names[shared]!r}, is only in {longer}"
    return f"{model} has {len(model_names)} classes, {data} {len(data_names)}{first}"


def distinct_labels(names: Sequence[str], category_ids: Sequence[int]) -> tuple[str, ...]:
    """A label for each class: its name, followed by its category id where several classes share the name.

    Example:
        >>> distinct_labels(["cat", "dog", "cat"], [1, 2, 7])
        ('cat (1)', 'dog', 'cat (7)')
    """
    counts = Counter(names)
    labels: list[str] = []
    for number, (name, category_id) in enumerate(zip(names, category_ids, strict=True), start=1):
        label = f"{name} ({category_id})" if counts[name] > 1 else name
        while label in labels:
            label = f"{label} (class {number})"
        labels.append(label)
    return tuple(labels)
