"""Every module of the package has its test file, or test files that import it; what neither has is listed, with why."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("")
    for path in (ROOT / "mrcnn").rglob("*.py")
    if path.name != "__init__.py"  # names only
)
# Tested through what uses them, where a test of their own would repeat it: the test files that do.
BY_USE = {
    "cli": {"__main__": "cli/test_console.py", "cli.options": "cli/test_application.py"},
    "start": {"_version": "test_package.py", "compat": "data/test_augmenters.py", "quiet": "test_package.py"},
    "data": {
        "data.formats.coco_entries": "data/formats/test_coco.py",
        "data.formats.cvat_writer": "data/formats/test_cvat.py",
        "data.formats.geojson_writer": "data/formats/test_geojson.py",
        "data.formats.labelme_writer": "data/formats/test_labelme.py",
        "data.formats.map_writers": "data/formats",
        "data.formats.seg_npy": "data/formats",
        "data.formats.tfrecord_writer": "data/formats/test_tfrecord.py",
        "data.formats.voc_writer": "data/formats/test_voc.py",
        "data.formats.yolo_rows": "data/formats/test_yolo.py",
        "data.formats.yolo_writer": "data/formats/test_yolo.py",
        "data.pipeline.mapper": "data/pipeline/test_batches.py",
    },
    "results": {
        "export.versions": "export/test_saved_model.py",
        "evaluation.coco_eval": "evaluation/test_coco.py",
        "inference.results": "inference/test_stream.py",
        "inference.threads": "inference/test_stream.py",
        "inspection.batch": "inspection/test_anchors.py",
        "inspection.figures": "inspection/test_dataset.py",
        "inspection.report": "inspection/test_dataset.py",
    },
    "matterport": {  # tested by the names that scripts use, of which these are the inside
        "matterport.__main__": "matterport/test_runner.py",
        "matterport.average_precision": "matterport/test_utils.py",
        "matterport.boxes": "matterport/test_utils.py",
        "matterport.checkpoint_paths": "matterport/test_model.py",
        "matterport.dataset": "matterport/test_utils.py",
        "matterport.detection": "matterport/test_model.py",
        "matterport.detector": "matterport/test_model.py",
        "matterport.eager": "matterport/test_graph_parts.py",
        "matterport.fetch": "matterport/test_utils.py",
        "matterport.generator": "matterport/test_targets.py",
        "matterport.graph": "matterport/test_graph_parts.py",
        "matterport.graph_boxes": "matterport/test_graph_parts.py",
        "matterport.graph_losses": "matterport/test_graph_parts.py",
        "matterport.graph_networks": "matterport/test_graph_parts.py",
        "matterport.imports": "matterport/test_runner.py",
        "matterport.parallel_model": "matterport/test_surface.py",
        "matterport.images": "matterport/test_model.py",
        "matterport.plots": "matterport/test_visualize.py",
        "matterport.resizing": "matterport/test_utils.py",
        "matterport.samples_coco": "matterport/test_coco.py",
        "matterport.view": "matterport/test_model.py",
    },
    "modeling": {
        "modeling.limits": "modeling/test_mask_rcnn.py",
        "modeling.padding": "modeling/test_mask_rcnn.py",
        "ops.classes": "modeling",
    },
    "training": {
        "training.loop": "training/test_fit.py",
        "training.nonfinite": "training/test_faults.py",
        "training.step": "training/test_faults.py",
    },
    "weights": {  # what `open_file` and `load_pretrained` are made of
        "weights.containers": "weights/test_open_file.py",
        "weights.download_progress": "weights/test_download.py",
        "weights.file_format": "weights/test_checkpoint.py",
        "weights.hdf5_child": "weights/test_keras_h5.py",
        "weights.infer": "weights/test_pretrained.py",
        "weights.reading": "weights/test_open_file.py",
        "weights.stack_machine": "weights/test_safe_pickle.py",
        "weights.stored_array": "weights/test_open_file.py",
        "weights.torch_tensors": "weights/test_torch_file.py",
    },
}
ELSEWHERE = {module: place for group in BY_USE.values() for module, place in group.items()}


def imported_by(path: Path) -> set[str]:
    """Every module and every name out of a module that a file imports, with dots."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return set().union(*(imported_by(path) for path in TESTS if path.name.startswith("test_")))


def mirrors(module: Path) -> list[Path]:
    """Where the test file of a module may lie: at its own place, or beside the tests of its package."""
    parts = module.parts[1:]
    of_package = [ROOT / "tests" / Path(*parts[:-2]) / f"test_{parts[-2]}.py"] if len(parts) > 2 else []
    return of_package + [
        ROOT / "tests" / Path(*parts[:depth]) / f"test_{parts[-1]}.py" for depth in range(1, len(parts))
    ] or [ROOT / "tests" / f"test_{parts[-1]}.py"]


def is_tested(module: Path, imported: set[str]) -> bool:
    return any(path.exists() for path in mirrors(module)) or ".".join(module.parts) in imported


def test_every_module_has_its_test(imported: set[str]) -> None:
    missing = [module for module in MODULES if not is_tested(module, imported)]
    unknown = sorted(".".join(module.parts) for module in missing if ".".join(module.parts[1:]) not in ELSEWHERE)
    assert not unknown, f"no tests/…/test_<name>.py, and no test imports: {unknown}"


def test_what_is_listed_exists() -> None:
    names = {".".join(module.parts[1:]) for module in MODULES}
    assert not [name for name in ELSEWHERE if name not in names], "no such module"
    assert not [place for place in ELSEWHERE.values() if not (ROOT / "tests" / place).exists()], "no such tests"


def test_every_format_has_a_test_file_of_its_own() -> None:
    """What reads files that others wrote is tested by itself, however many tests import it."""
    for file in sorted((ROOT / "mrcnn/data/formats").glob("*.py")):
        bases = {
            base.id
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name)
        }
        if "Format" in bases:
            assert (ROOT / f"tests/data/formats/test_{file.stem}.py").exists(), file.stem
