"""The names of matterport/Mask_RCNN, for scripts written for it: `from mrcnn.config import Config` and so on.

A facade: the names, layouts and conventions of that package over the components of this one. No module outside this
folder imports it.

In notebooks `%load_ext mrcnn.matterport` does what `python -m mrcnn.matterport` does for scripts.
"""

from __future__ import annotations

from typing import Any

from mrcnn.matterport.imports import COCO, FLAT, offer

offer(COCO)


def prepare() -> None:
    """Let imgaug and older NumPy names be found, and `import model as modellib` and its like."""
    from mrcnn.compat import repair_numpy, restore_numpy_names

    repair_numpy()
    restore_numpy_names()
    offer(FLAT)


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext mrcnn.matterport`: as `prepare`, and errors that cannot be mended are explained in one line."""
    from mrcnn.matterport.refusals import explain

    prepare()

    def show(shell: Any, kind: Any, error: BaseException, trace: Any, tb_offset: Any = None) -> None:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
        reason = explain(error)
        if reason:
            print(reason)

    ipython.set_custom_exc((Exception,), show)


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext mrcnn.matterport`: errors are shown as they were."""
    ipython.set_custom_exc((), None)
