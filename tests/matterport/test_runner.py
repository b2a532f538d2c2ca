from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.matterport.refusals import explain

ROOT = Path(__file__).parents[2]


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mrcnn.matterport", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )


def test_a_script_with_flat_imports_and_libraries_for_an_older_numpy(tmp_path):
    (tmp_path / "own.py").write_text("VALUE = 7\n")
    (tmp_path / "script.py").write_text(
        "import sys\nimport numpy as np\nprint(np.sctypes['float'][-1].__name__)\n"
        "from config import Config\nimport mrcnn.config, own\n"
        "print(Config is mrcnn.config.Config, own.VALUE, sys.argv[1:], __name__)\n"
    )
    done = _run(tmp_path / "script.py", "train", "--dataset=x")
    assert done.stdout.splitlines() == ["float64", "True 7 ['train', '--dataset=x'] __main__"], done.stderr


def test_the_scripts_own_files_come_first(tmp_path):
    (tmp_path / "config.py").write_text("MINE = True\n")
    (tmp_path / "script.py").write_text("import config\nprint(config.MINE)\n")
    assert _run(tmp_path / "script.py").stdout == "True\n"


def test_no_script():
    assert "there is no nothing.py" in _run("nothing.py").stderr
    assert "usage" in _run().stderr


def test_importing_config_stays_light():
    code = (
        "import mrcnn.config, sys;"
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'cv2', 'imgaug', 'pycocotools') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_names_that_numpy_and_time_have_dropped(tmp_path):
    (tmp_path / "script.py").write_text(
        "import numpy as np, time\nstart = time.clock()\n"
        "print(np.zeros(1, np.int).dtype, np.float(2), np.asscalar(np.array([3])), time.clock() >= start)\n"
    )
    done = _run(tmp_path / "script.py")
    assert done.stdout == "int64 2.0 3 True\n", done.stderr


def test_imgaug_before_mrcnn_and_the_coco_sample(tmp_path):
    pytest.importorskip("imgaug", reason="imgaug is not installed")
    (tmp_path / "script.py").write_text(
        "from imgaug import augmenters as iaa\nimport sys; sys.path.append('samples/coco/')\nimport coco\n"
        "class C(coco.CocoConfig):\n    GPU_COUNT = 1\nprint(C().NUM_CLASSES, iaa.Fliplr(0.5).name[:7])\n"
    )
    done = _run(tmp_path / "script.py")
    assert done.stdout.startswith("81 Unnamed"), done.stderr


def test_what_cannot_work_ends_with_one_line(tmp_path):
    (tmp_path / "script.py").write_text("import tensorflow as tf\nimport mrcnn.config\nsession = tf.Session()\n")
    done = _run(tmp_path / "script.py")
    (line,) = [line for line in done.stderr.splitlines() if "script.py" in line]
    assert line.startswith(f"{tmp_path / 'script.py'}, line 3: tf.Session is of TensorFlow 1: ")
    assert "delete the line" in line and "set_memory_growth" in line and "Traceback" not in done.stderr
    (tmp_path / "other.py").write_text("raise KeyError('x')\n")
    assert "Traceback" in _run(tmp_path / "other.py").stderr


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import tensorflow; tensorflow.get_default_graph()", "model.detect without"),
        ("from keras import backend; backend.set_session(1)", "keras.backend.set_session is of Keras 2"),
        ("import keras.engine", "keras.engine is of Keras 2"),
        ("from mrcnn import visualize; visualize.save_image", "mrcnn.visualize has no save_image: that is of a fork"),
        ("from mrcnn.utils import color_splash", "mrcnn.utils has no color_splash"),
        ("import mrcnn.nothing_like_it", "there is no mrcnn.nothing_like_it"),
        (
            "import numpy as np; from mrcnn import visualize;"
            "visualize.display_instances(np.zeros((2, 2, 3)), np.zeros((0, 4)), np.zeros((2, 2, 0)), [], [], show=1)",
            "display_instances takes no show in matterport",
        ),
    ],
)
def test_explanations(code, expected):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of several kinds
        exec(code, {})
    assert expected in explain(caught.value)


def test_other_errors_are_not_explained():
    assert explain(KeyError("x")) is None
    assert explain(TypeError("f() got an unexpected keyword argument 'show'")) is None


def test_disabled_eager_execution_is_said(tmp_path):
    (tmp_path / "script.py").write_text(
        "import tensorflow as tf\ntf.compat.v1.disable_eager_execution()\n"
        "from mrcnn.config import Config\nimport mrcnn.model as modellib\n"
        "class C(Config):\n    NAME, NUM_CLASSES = 'x', 2\nmodellib.MaskRCNN('inference', C(), '.')\n"
    )
    assert "eager execution is off" in _run(tmp_path / "script.py").stderr


def test_the_extension_of_notebooks(capsys):
    shell = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed").InteractiveShell()
    shell.run_cell("%load_ext mrcnn.matterport")
    shell.run_cell("import numpy as np; from config import Config\nprint(Config.__module__, np.sctypes['int'][0])")
    shell.run_cell("import tensorflow as tf; tf.ConfigProto()")
    out = capsys.readouterr().out
    assert "mrcnn.matterport.config <class 'numpy.int8'>" in out and "tf.ConfigProto is of TensorFlow 1" in out
    shell.run_cell("%unload_ext mrcnn.matterport")


def test_tensorflow_starts_without_its_notes_and_before_any_device_is_in_use(tmp_path):
    (tmp_path / "script.py").write_text(
        "import mrcnn.model as modellib, tensorflow as tf\n"
        "from tensorflow.python.eager import context\n"
        "print(context.context()._initialized)\n"
    )
    done = _run(tmp_path / "script.py")
    assert done.stdout == "False\n" and done.stderr == ""
