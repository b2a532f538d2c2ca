"""docs/extending/exporter.md does what it says, as a package outside the tree that declares an entry point."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "extending" / "exporter.md"


@pytest.fixture
def package(tmp_path):
    """A folder that looks installed: the module of the first block and metadata with an entry point."""
    module, _ = blocks()
    folder = tmp_path / "site"
    metadata = folder / "npz_exporter-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "npz_exporter.py").write_text(module)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: npz-exporter\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mrcnn.components]\nmine = npz_exporter\n")
    return folder


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOC.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(package: Path, code: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_module_is_short():
    module, usage = blocks()
    assert len(module.splitlines()) + len(usage.splitlines()) <= 60


@pytest.mark.slow
def test_the_blocks_run_and_errors_name_the_file(package, tmp_path):
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / "image.png")
    _, usage = blocks()
    code = f"""
from mrcnn.export import exporter_names
assert "npz" in exporter_names()  # declared, not imported
{usage}
from mrcnn.export import ExportError
for name, content in (("other.npz", b"no zip"), ("absent.npz", None)):
    if content:
        open(name, "wb").write(content)
    try:
        npz.load(name)
    except ExportError as error:
        assert name in str(error) and error.__cause__ is not None
    else:
        raise AssertionError(name)
try:
    npz.export(model, "model.pt")
except ValueError as error:
    assert "ends in .npz" in str(error)
"""
    said = run(package, code, tmp_path)
    assert "images" in said
    assert "Instances" in said
    assert {entry.name for entry in tmp_path.iterdir()} == {"site", "image.png", "other.npz", "model.npz"}
