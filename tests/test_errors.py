from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from mrcnn.errors import DependencyError, FileError, InputError, MrcnnError

ROOT = Path(__file__).parent.parent
INSIDE = {"TooLargeError"}  # ends where it begins, in the child process that reads HDF5 files


@pytest.mark.parametrize(
    "error, built_in", [(InputError, ValueError), (DependencyError, ImportError), (FileError, OSError)]
)
def test_each_is_the_built_in_one_that_a_caller_would_catch(error, built_in):
    assert issubclass(error, MrcnnError) and issubclass(error, built_in)
    assert str(error("what to do")) == "what to do"


def test_a_file_error_carries_what_the_system_said():
    error = FileError(28, "No space left on device", "a.txt")
    assert (error.errno, error.filename, str(error)) == (28, "a.txt", "No space left on device: a.txt")


def test_every_error_of_the_package_derives_from_both():
    """By the sources: an exception class names MrcnnError, or one of the package's own, among its bases."""
    known, pending = {"MrcnnError"}, []
    for path in sorted((ROOT / "mrcnn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name != "MrcnnError":
                pending.append((node.name, {base.id for base in node.bases if isinstance(base, ast.Name)}))
    while result := [name for name, bases in pending if bases & known and name not in known]:
        known.update(result)
    assert {name for name, _ in pending if name not in known} <= INSIDE
    for name, bases in pending:
        if "MrcnnError" in bases:
            others = bases - {"MrcnnError"}
            assert others and all(hasattr(builtins, other) for other in others), name
