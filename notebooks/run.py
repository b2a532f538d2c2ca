"""Run every notebook in place and keep its output: python notebooks/run.py [NOTEBOOK ...]"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
# The one line that says why the RoIAlign op is not used names a folder of this machine.
os.environ.setdefault("MRCNN_ROI_ALIGN", "python")


def run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    print(f"== {path.name}", flush=True)
    # An error in a cell is an error of this script; the file on disk then stays as it was.
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": HERE}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day: nothing a reader needs, and a change at every run
    temporary = path.with_suffix(".partial")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(HERE.glob("*.ipynb")):
        run(Path(name))
