"""The page of `mrcnn app` on a Hugging Face Space, and here: MRCNN_MODEL=samples/nuclei/run python samples/space/app.py

The model is what MRCNN_MODEL names (a variable of the Space): a run's folder, hf://user/repo, or any name that
`mrcnn download` takes. Without it, it is the folder run/ beside this file.
"""

import os
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent

model = mrcnn.fold_batch_norm(mrcnn.load_pretrained(os.environ.get("MRCNN_MODEL") or HERE / "run"))
images = HERE / "images"  # to step through, where the Space has any
mrcnn.launch_app(model, images if images.is_dir() else None, log=print).wait()
