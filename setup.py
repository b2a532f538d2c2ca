"""Packaging is stated in pyproject.toml; here is only what concerns the compiled ops, which no installation needs.

python setup.py build_ops             builds the ops for the TensorFlow of this Python, into the user's cache
MRCNN_BUILD_OPS=1 pip install .       installs, then builds the ops for the TensorFlow already installed
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def run_build() -> None:
    # pip builds in an environment of its own, laid over this Python by PYTHONPATH. The ops are built for the TensorFlow
    # that will load it, so the build looks past that.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    result = subprocess.run([sys.executable, "-c", "import tensorflow"], env=environment, capture_output=True)
    if result.returncode != 0:
        sys.exit("The ops are built for an installed TensorFlow, and there is none: pip install tensorflow first")
    # By path: the package itself may not be installed yet.
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]);"
        " runpy.run_module('mrcnn.native.build', run_name='__main__')"
    )
    built = subprocess.run([sys.executable, "-c", code, str(ROOT)], env=environment)
    if built.returncode != 0:
        sys.exit(built.returncode)


class BuildOps(Command):
    description = "build the compiled ops for the TensorFlow of this Python"
    user_options: ClassVar[list] = []

    def initialize_options(self):
        pass

    def finalize_options(self):
        pass

    def run(self):
        run_build()


class BuildPy(build_py):
    """Takes the ops' sources along, so that an installed package can build them too."""

    def run(self):
        super().run()
        if not getattr(self, "editable_mode", False):
            target = Path(self.build_lib) / "mrcnn" / "custom_ops"
            for source in sorted((ROOT / "custom_ops").glob("*/*.[hc]*")):
                folder = target / source.parent.name
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder)
        if os.environ.get("MRCNN_BUILD_OPS") == "1":
            run_build()


setup(cmdclass={"build_ops": BuildOps, "build_py": BuildPy})
