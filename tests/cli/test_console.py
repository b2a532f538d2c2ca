from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mrcnn
from tests.cli.runner import DATA, LITE, invoke

ROOT = Path(__file__).parents[2]


def test_names_outside_the_code_page_do_not_crash(tmp_path):
    """A Windows console, or output that is redirected there, cannot encode every name."""
    names = 'names = "\\u732b \\U0001f431 caf\\xe9.png"'
    script = (
        f"from mrcnn.cli import console; {names}; console.begin();"
        "console.print_result(names); console.print_written(console.Path('.')); console.print_error(names);"
        "import logging; logging.getLogger('mrcnn').warning(names)"
    )
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, env=environment, check=True)
    assert process.stdout.decode("cp1252").startswith("? ? café.png")
    assert process.stderr.decode("cp1252").splitlines() == ["mrcnn: ? ? café.png"] * 2


COMPONENT = '''
import dataclasses

from mrcnn.data.augmentations.base import AugmentationConfig


@dataclasses.dataclass(frozen=True)
class Nothing(AugmentationConfig):
    """Leaves the image as it is."""

    amount: float = 1.0

    def apply(self, sample, rng):
        return sample
'''


@pytest.mark.parametrize("place", ["before", "after"])
def test_import_makes_components_of_a_script_known(tmp_path, monkeypatch, place):
    """A recipe names a component of a module in the current folder, as `python -m` would find it."""
    module = f"component_of_a_script_{place}"
    (tmp_path / f"{module}.py").write_text(COMPONENT)
    recipe = mrcnn.recipes.get(LITE).to_dict()
    recipe["data"]["augmentations"] = [{"kind": f"{module}:Nothing", "amount": 2.0}]
    mrcnn.save_json(recipe, tmp_path / "mine.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    refused = invoke("recipes", "mine.json")
    assert refused.exit_code == 2 and f"mrcnn --import {module}" in refused.stderr
    option = ("--import", module)
    args = (*option, "recipes", "mine.json") if place == "before" else ("recipes", "mine.json", *option)
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert "amount: 2.0" in result.stdout
    again = invoke("inspect", "--data", DATA, "--recipe", "mine.json", "--out", "out", "--samples", 0, *option)
    assert again.exit_code == 0, again.output


def test_a_module_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("recipes", "--import", "no_such_module_anywhere")
    assert result.exit_code == 2
    assert "no_such_module_anywhere: no such module" in result.stderr and str(tmp_path) in result.stderr


def test_an_error_inside_the_module_is_shown_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "broken_component.py").write_text("import not_installed_here")
    monkeypatch.chdir(tmp_path)
    result = invoke("recipes", "--import", "broken_component")
    assert isinstance(result.exception, ModuleNotFoundError) and result.exception.name == "not_installed_here"


def test_tensorflow_starts_without_a_line(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.run(
        [sys.executable, "-m", "mrcnn", "recipes"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert process.stderr == "" and "mask_rcnn_r50_fpn" in process.stdout
