from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mrcnn
from mrcnn.distribution import explain, other_distribution, warn_of_other

ROOT = Path(__file__).parent.parent


def _installed(folder: Path, name: str, entry_point: str | None = None) -> Path:
    """Metadata as pip leaves them."""
    metadata = folder / name
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mrcnn\nVersion: 0.2\n")
    if entry_point is not None:
        (metadata / "entry_points.txt").write_text(f"[console_scripts]\nmrcnn = {entry_point}\n")
    return metadata


@pytest.mark.parametrize(
    "name", ["mrcnn-0.2.dist-info", "mrcnn-2.1-py3.6.egg-info", "Mrcnn-0.2.dist-info", "mrcnn.egg-info"]
)
def test_the_other_mrcnn_is_recognized(tmp_path, name):
    metadata = _installed(tmp_path, name)
    assert other_distribution([str(tmp_path)]) == metadata
    assert "pip uninstall mrcnn" in explain(metadata) and "mrcnn-keras" in explain(metadata)


@pytest.mark.parametrize("name", ["mrcnn_keras-0.1.dist-info", "mrcnn_other-1.0.dist-info", "mrcnn-0.1.dist-info"])
def test_our_own_and_foreign_names_are_not(tmp_path, name):
    """The last: an editable installation of before the distribution had its own name."""
    _installed(tmp_path, name, "mrcnn.cli:main")
    (tmp_path / "mrcnn").mkdir()
    assert other_distribution([str(tmp_path), str(tmp_path / "absent")]) is None


def test_this_environment_has_none():
    assert other_distribution() is None


def test_an_import_beside_the_other_one_warns(tmp_path):
    _installed(tmp_path, "mrcnn-0.2.dist-info")
    script = f"import sys; sys.path.append({str(tmp_path)!r}); import mrcnn"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert process.stderr.count("RuntimeWarning") == 1 and "another project" in process.stderr


def test_doctor_names_the_other_one(tmp_path, monkeypatch):
    metadata = _installed(tmp_path, "mrcnn-0.2.dist-info")
    assert "another mrcnn" not in mrcnn.diagnose()
    monkeypatch.syspath_prepend(tmp_path)
    assert str(metadata) in mrcnn.diagnose()["another mrcnn"]
    with pytest.warns(RuntimeWarning, match="another project"):
        warn_of_other()
