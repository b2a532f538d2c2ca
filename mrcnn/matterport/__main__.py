"""`python -m mrcnn.matterport script.py args...`: a script with what an import of `mrcnn` comes too late to mend.

imgaug can be imported before `mrcnn`; names that NumPy and `time` have dropped are there; `import model as modellib`,
`import utils`, `import coco` and so on find the modules of this package, unless the script's own folder has files of
these names. Where a script does what cannot work any more, it ends with one line: what, why, what to write instead.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Sequence

from mrcnn.matterport import prepare
from mrcnn.matterport.refusals import explain
from mrcnn.quiet import import_tensorflow


def main(arguments: Sequence[str]) -> None:
    """Run the script that the first argument names, with the others as its own."""
    if not arguments or not os.path.isfile(arguments[0]):
        given = f"there is no {arguments[0]}" if arguments else "none was given"
        raise SystemExit(f"usage: python -m mrcnn.matterport script.py [its arguments]; {given}")
    prepare()
    import_tensorflow()
    sys.argv = list(arguments)
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except Exception as error:
        reason = explain(error)
        if reason is None:
            raise
        folder = os.path.dirname(os.path.abspath(arguments[0])) + os.sep
        calls = traceback.extract_tb(error.__traceback__)
        own = [call for call in calls if os.path.abspath(call.filename).startswith(folder)]
        place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
        raise SystemExit(place + reason) from None


if __name__ == "__main__":
    main(sys.argv[1:])
