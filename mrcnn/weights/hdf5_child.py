"""The program that reads HDF5 files for `keras_h5`, in a process of its own: the library may crash on a damaged file.

It imports nothing of this package. On its input comes one line of JSON, {"path", "sys_path", "max_bytes", "memory"}. It
answers with a line that lists the arrays, and then, for each name it is given, with a line and the array's bytes. A
line with "error" says what is wrong; "too large" is true where a file asks for an unreasonable amount of memory.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, BinaryIO

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # what h5py itself brings; others load programs
_TEXTS = ("keras_version", "backend")  # the attributes that are read beside the lists of names
_MAX_NAMES = 1 << 20  # of one list


class FileError(Exception):
    """What is wrong with the file, in words for its user."""


class TooLargeError(Exception):
    """The file asks for an unreasonable amount of memory."""


def survey(file: Any, max_bytes: int) -> dict[str, Any]:
    """The arrays of a Keras file and its plain attributes.

    Args:
        file: an h5py.File.
        max_bytes: that all arrays, or the chunks they are packed in, may have.

    Returns:
        arrays: [name, path in the file, shape, dtype] of each; attributes: text by name.

    Raises:
        FileError, TooLargeError.
    """
    import h5py

    root = _step(file, "model_weights") if "model_weights" in file else file
    if not isinstance(root, h5py.Group):
        raise FileError("damaged, model_weights is an array, expected a group")
    layers = _names(root, "layer_names") or list(root)  # a converter may have left out the lists of names
    if {"_layer_checkpoint_dependencies", "layers"} & set(layers) and "layer_names" not in root.attrs:
        raise FileError("a Keras 3 .weights.h5 file, expected the .h5 format of Keras 2, which names its layers")
    arrays: dict[str, list[Any]] = {}
    total = 0
    for layer in layers:
        group = _step(root, layer)
        for weight in _names(group, "weight_names") or _datasets(group):
            scope, _, leaf = weight.rpartition("/")
            own = scope.rpartition("/")[2]
            if not own or re.fullmatch(rf"{re.escape(layer)}_\d+", own):
                own = layer  # TensorFlow added a number, as in conv1_2, where the name was taken
            name = f"{own}/{leaf.partition(':')[0]}"
            if name in arrays:
                raise FileError(f"two weights named {name}")
            dataset = _step(group, weight)
            total += _checked_size(dataset, f"{layer}/{weight}")
            arrays[name] = [name, dataset.name, [int(side) for side in dataset.shape], dataset.dtype.str]
            if total > max_bytes:
                raise TooLargeError
    if not arrays:
        raise FileError("an HDF5 file without the weights of a Keras model")
    attributes: dict[str, str] = {}
    for node in (file, root):
        attributes |= {key: _text(node.attrs[key]) for key in _TEXTS if key in node.attrs and _is_text(node.attrs[key])}
    return {"arrays": list(arrays.values()), "attributes": attributes}


def _step(group: Any, name: str) -> Any:
    """What lies below a group under a name of several parts, each of which lies in this very file."""
    import h5py

    item: Any = group
    for part in name.split("/"):
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise FileError(f"damaged, {name} is listed in {group.name} but not there")
        if isinstance(link, h5py.ExternalLink):
            raise FileError(f"refused, {name} is a link into another file ({link.filename})")
        if not isinstance(link, h5py.HardLink):
            raise FileError(f"refused, {name} is a symbolic link ({getattr(link, 'path', link)})")
        item = item[part]
    return item


def _checked_size(dataset: Any, name: str) -> int:
    """Bytes that reading a dataset takes, after a look whether it is one of numbers that lie in this very file."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise FileError(f"damaged, {name} is a group, expected an array")
    if dataset.external or dataset.is_virtual:
        raise FileError(f"refused, the numbers of {name} lie in another file")
    properties = dataset.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code not in _FILTERS:
            raise FileError(f"refused, {name} is packed with HDF5 filter {code}; known: {_FILTERS}")
    if dataset.dtype.kind not in "fiub" or dataset.shape is None:
        raise FileError(f"{name} has dtype {dataset.dtype}, expected numbers")
    sides = dataset.shape
    if dataset.chunks:  # each is unpacked as a whole, however few of its numbers belong to the array
        sides = [-(-side // chunk) * chunk for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    return max(math.prod(sides), math.prod(dataset.chunks or ())) * dataset.dtype.itemsize


def _datasets(group: Any) -> list[str]:
    """Paths of all arrays below a group; links to elsewhere are not followed."""
    import h5py

    paths: list[str] = []
    if isinstance(group, h5py.Group):
        group.visititems(lambda name, item: paths.append(name) if isinstance(item, h5py.Dataset) else None)
    return paths


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which Keras cuts into attributes name0, name1, … where it is long; empty: there is none."""
    import numpy as np

    keys = [attribute] if attribute in group.attrs else []
    while keys[:1] != [attribute] and f"{attribute}{len(keys)}" in group.attrs:
        keys.append(f"{attribute}{len(keys)}")
    names: list[str] = []
    for key in keys:
        if math.prod(group.attrs.get_id(key).shape or ()) > _MAX_NAMES:
            raise TooLargeError
        parts = np.atleast_1d(group.attrs[key])
        if not all(_is_text(part) for part in parts):
            raise FileError(f"damaged, {key} of {group.name} is no list of names")
        names += [_text(part) for part in parts]
    return names


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _limit_memory(size: int) -> None:
    """So many bytes beyond those the process has now, and no core file where the system knows such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = now + size if hard == resource.RLIM_INFINITY else min(now + size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _answer(output: BinaryIO, content: dict[str, Any], data: Any = b"") -> None:
    output.write(json.dumps(content).encode() + b"\n")
    output.write(data)
    output.flush()


def _serve(source: BinaryIO, output: BinaryIO) -> None:
    request = json.loads(source.readline())
    sys.path[:] = request["sys_path"]
    import h5py
    import numpy as np

    _limit_memory(request["memory"])
    try:
        try:
            file = h5py.File(request["path"], "r")
        except OSError as error:
            raise FileError(f"truncated or damaged ({error})") from error
        with file:
            listed = survey(file, request["max_bytes"])
            _answer(output, listed)
            known = {full for _, full, _, _ in listed["arrays"]}
            for line in source:
                name = json.loads(line)
                if name not in known:
                    raise FileError(f"{name} is none of its arrays")
                array = np.ascontiguousarray(file[name][()])
                _answer(output, {"bytes": array.nbytes}, array.tobytes())
    except FileError as error:
        _answer(output, {"error": str(error)})
    except (TooLargeError, MemoryError, RecursionError):
        _answer(output, {"error": "", "too large": True})
    except Exception as error:  # whatever a damaged file leads h5py to is reported as damage
        _answer(output, {"error": f"damaged ({type(error).__name__}: {str(error)[:300]})"})


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
