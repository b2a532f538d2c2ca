"""Every block of README and docs runs by itself: a fresh process, a folder with a small model and a few images."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from tests.docs.blocks import ALL, PAGES, ROOT, Block, blocks_of
from tests.tiny_model import tiny_model

NUCLEI = ROOT / "tests/assets/nuclei_tiny"
RUN = [block for block in ALL if block.skip is None and (block.file is None or block.is_test)]


def test_pages_have_blocks_and_each_that_is_not_run_says_why():
    assert ROOT / "README.md" in PAGES and len(ALL) > 20
    assert [block.id for block in ALL if block.skip is not None and len(block.skip) < 10] == []
    known = ("skip", "slow", "continues")
    assert [b.id for b in ALL if b.notes and b.notes[0] not in known] == []


def test_the_python_of_the_readme_needs_no_block_before_it():
    blocks = [block for block in blocks_of(ROOT / "README.md") if block.language == "python"]
    assert len(blocks) == 6
    assert all("import mrcnn" in block.code and not block.before and block.skip is None for block in blocks)


def test_comments_and_files_are_read(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# one.py\nA = 1\n```\n<!-- test: skip, no network -->\n```sh\nx\n```\n```text\ny\n```\n"
        "```python\nb = 2\n```\n<!-- test: continues, slow -->\n```python\nc = b\n```\n"
    )
    one, skipped, second, third = blocks_of(page)
    assert one.file == "one.py" and second.file is None
    assert skipped.skip == "no network" and second.skip is None
    assert third.before == "b = 2\n" and third.is_slow and not second.is_slow and third.line == 16


@pytest.fixture(scope="module")
def supplies(tmp_path_factory) -> Path:
    """What the blocks name: images, annotations, a run, files of weights, a video."""
    folder = tmp_path_factory.mktemp("docs")
    model = mrcnn.MaskRCNN(dataclasses.replace(tiny_model().config, num_classes=1), ["nucleus"], [1])
    logits = model.box_head.class_logits  # scores apart from each other, or rounding would order them in an export
    logits.kernel.assign(logits.kernel * 10.0)
    logits.bias.assign([4.0, 0.0])  # what has no features is background
    checkpoint = mrcnn.save_checkpoint(model, folder / "runs/mine/model.safetensors")
    shutil.copytree(folder / "runs/mine", folder / "RUN")
    for name in ("maskrcnn_resnet50_fpn_coco.pth", "model_final_f10217.pkl"):  # known by their content
        shutil.copy(checkpoint, folder / name)
    images = sorted((NUCLEI / "images").glob("*.png"))
    shutil.copytree(NUCLEI / "images", folder / "images")
    for name in ("train.json", "val.json"):
        shutil.copy(NUCLEI / "annotations.json", folder / name)
    for name in ("a.png", "b.png", "image.png", "nucleus.png"):
        shutil.copy(images[0], folder / name)
    (folder / "new").mkdir()
    for name in ("street.jpg", "image.jpg", "new/a.jpg", "new/b.jpg"):
        mrcnn.save_image(folder / name, mrcnn.read_image(images[1]))
    with mrcnn.VideoWriter(folder / "in.mp4", 10) as video:
        for level in (0, 90, 180):
            video.write(np.full((48, 64, 3), level, np.uint8))
    command = folder / "bin/mrcnn"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent}/shortened.py" -m mrcnn "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return folder


def run_block(block: Block, supplies: Path, folder: Path) -> None:
    """Run a block; its page's files lie beside it."""
    shutil.copytree(supplies, folder, dirs_exist_ok=True)
    (folder / "samples").symlink_to(ROOT / "samples")
    for name in (note.removeprefix("without ") for note in block.notes if note.startswith("without ")):
        shutil.rmtree(folder / name)
    for other in blocks_of(block.page):
        if other.file is not None:
            (folder / other.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / other.file).write_text(other.code)
    for need in (note.removeprefix("needs ") for note in block.notes if note.startswith("needs ")):
        if need == "served/1":
            export = [sys.executable, "-m", "mrcnn", "export", "--model", "RUN", "--out", "served"]
            subprocess.run(export, cwd=folder, env=environment(folder), check=True, capture_output=True)
    if block.is_test:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", str(block.file)]
    elif block.language == "python":
        (folder / "block_of_the_docs.py").write_text(block.before + block.code)
        command = [sys.executable, str(Path(__file__).parent / "shortened.py"), "block_of_the_docs.py"]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.before + block.code]
    process = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{block.id}\n{process.stdout[-3000:]}\n{process.stderr[-3000:]}"


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}


def _is_slow(block: Block) -> bool:
    return block.is_slow or block.page.name != "README.md"


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.id, marks=[pytest.mark.slow] if _is_slow(block) else []) for block in RUN],
)
def test_block_runs_by_itself(block, supplies, tmp_path):
    run_block(block, supplies, tmp_path)
