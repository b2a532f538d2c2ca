from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mrcnn
from mrcnn.distribution import NAME

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "mrcnn").rglob("*.py"))
PUBLIC_ONLY = sorted(
    [*(ROOT / "mrcnn/cli").glob("*.py"), *(ROOT / "samples").rglob("*.py"), *(ROOT / "notebooks").glob("*.*")]
)
PUBLIC_ONLY = [path for path in PUBLIC_ONLY if not path.stem.endswith("_matterport")]  # in the old names

PUBLIC_NAMES = [
    "Annotation",
    "CityscapesMetric",
    "ConfigError",
    "DataError",
    "Dataset",
    "EvaluationReport",
    "ExportError",
    "FileError",
    "ImageSelection",
    "InputError",
    "Instances",
    "LabelServer",
    "MaskRCNN",
    "MaskRCNNConfig",
    "MrcnnError",
    "PanopticSegments",
    "ReadOptions",
    "Recipe",
    "ResultWriter",
    "Tracker",
    "UnknownNetworkError",
    "VideoReader",
    "VideoWriter",
    "WeightsError",
    "__version__",
    "build_ops",
    "compare_reports",
    "dataset_splits",
    "describe_weights",
    "detect",
    "detect_augmented",
    "detect_panoptic",
    "detect_tiled",
    "diagnose",
    "download_weights",
    "downloaded_weights",
    "draw",
    "draw_boxes",
    "draw_grid",
    "draw_panoptic",
    "dry_run",
    "encode_masks",
    "evaluate",
    "evaluate_panoptic",
    "export_onnx",
    "export_openvino",
    "export_saved_model",
    "export_tflite",
    "fold_batch_norm",
    "image_suffixes",
    "inspect",
    "inspect_batch",
    "iter_detect",
    "join_workers",
    "launch_app",
    "list_formats",
    "list_images",
    "load_coco",
    "load_dataset",
    "load_imagenet",
    "load_model",
    "load_onnx",
    "load_openvino",
    "load_pretrained",
    "load_splits",
    "load_tflite",
    "load_via",
    "load_weights",
    "make_pipeline",
    "published_weights",
    "push_to_hub",
    "quiet_start",
    "read_image",
    "recipes",
    "remove_download",
    "run_stages",
    "save_checkpoint",
    "save_image",
    "save_json",
    "save_panoptic",
    "select_images",
    "set_precision",
    "set_threads",
    "set_trainable",
    "to_coco_results",
    "track_colors",
    "train",
    "training_targets",
    "use_devices",
]
"""What users may rely on. A change here is a change for them: say so in CHANGELOG.md."""


def _modules_after(code: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter once `code` has run."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(json.loads(process.stdout.splitlines()[-1]))


def test_public_names_are_those_written_down():
    assert sorted(mrcnn.__all__) == PUBLIC_NAMES
    assert dir(mrcnn) == sorted(mrcnn.__all__) or set(dir(mrcnn)) == set(mrcnn.__all__)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_public_name_exists_and_says_what_it_is(name):
    value = getattr(mrcnn, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'MaskRcnn'.*MaskRCNN"):
        mrcnn.MaskRcnn  # noqa: B018


def test_static_imports_and_lazy_homes_agree():
    """What a type checker sees is what a program gets."""
    tree = ast.parse((ROOT / "mrcnn/__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    stated = {
        alias.name: "mrcnn.recipes" if alias.name == "recipes" else node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stated == mrcnn._HOME


def test_importing_the_package_is_light():
    heavy = {"tensorflow", "keras", "numpy", "matplotlib", "pycocotools", "cv2", "PIL", "typer", "rich"}
    assert not heavy & _modules_after("import mrcnn")


def test_using_every_public_name_loads_neither_matplotlib_nor_pycocotools():
    """Keras itself loads matplotlib where it finds it; what it loads is its own affair."""
    loaded = _modules_after("import mrcnn\nfor name in mrcnn.__all__: getattr(mrcnn, name)")
    ours = loaded - _modules_after("import tensorflow, keras")
    assert "mrcnn" in ours
    assert sorted({"matplotlib", "pycocotools", "typer", "torch", "imgaug"} & ours) == []


def test_quiet_start_writes_nothing():
    process = subprocess.run(
        [sys.executable, "-c", "import mrcnn; mrcnn.quiet_start()"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert process.stdout == "" and process.stderr == ""


def test_version_is_the_installed_one():
    for name in (NAME, "mrcnn"):  # the second: an environment of before the distribution got its own name
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert installed == mrcnn.__version__
        return
    pytest.skip(f"{NAME} is not installed here, only on the path")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sources_use_no_lambda_layer_and_no_private_keras(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"layers\.Lambda\b", text)
    assert not re.search(r"\bkeras\.src\b|\bkeras\.engine\b|\btf\.keras\b|\btensorflow\.keras\b|\btf_keras\b", text)
    refused = {"torch", "imgaug", "tensorflow_addons", "skimage", "tf_keras", "detectron2", "torchvision"}
    if path.is_relative_to(ROOT / "mrcnn/matterport"):  # scripts of old get to these through it, where they are
        refused -= {"imgaug", "skimage"}
    if path == ROOT / "mrcnn/data/augmenters.py":  # the adapter: for augmenters that a user hands over
        refused -= {"imgaug"}
    assert not refused & {name.split(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("path", PUBLIC_ONLY, ids=lambda p: str(p.relative_to(ROOT)))
def test_samples_notebooks_and_command_use_public_names_only(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    if (
        path.parent == ROOT / "mrcnn/cli"
    ):  # its own parts, what puts text from and to the command line in form, and exporters by name
        text = re.sub(
            r"^\s*from mrcnn\.(cli(\.\w+)?|text|data\.intensity|export) import ", "", text, flags=re.MULTILINE
        )
    assert not re.search(r"^\s*(from mrcnn\b|import mrcnn\.)", text, re.MULTILINE)
    used = set(re.findall(r"(?<![\w.\"/])mrcnn\.([A-Za-z_]\w*)", text)) - {"__file__", "cli"}
    assert used <= set(PUBLIC_NAMES)


def test_run_time_dependencies_are_ranges_that_cover_what_is_imported():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(">=" in line and "==" not in line for line in project["dependencies"])
    declared = {re.split(r"[><=\[]", line)[0] for line in project["dependencies"]}
    distributions = {
        "PIL": "pillow",
        "cv2": "opencv-python",
        "tensorflow_serving": "tensorflow-serving-api",
        "yaml": "pyyaml",
    }
    imported = {name.split(".")[0] for path in SOURCES for name in _imports(path)}
    outside = imported - set(sys.stdlib_module_names) - {"mrcnn", ""}
    assert {distributions.get(name, name) for name in outside} <= declared | {
        "IPython",
        "albumentations",
        "cvat_sdk",
        "gradio",
        "imgaug",
        "huggingface_hub",
        "keras_hub",
        "lvis",
        "openvino",
        "rasterio",
        "skimage",
    }
    extras = project["optional-dependencies"]
    assert {"albumentations", "efficientnet", "imgaug", "notebook", "dev"} <= set(extras)
