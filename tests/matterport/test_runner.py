from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_importing_config_repairs_numpy_and_stays_light():
    code = (
        "import mrcnn.config, sys, numpy; numpy.sctypes['uint'];"
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
