"""Find nuclei in pictures and draw them: python samples/nuclei/detect.py [PICTURE...]"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
model = mrcnn.load_model(HERE / "run")
pictures = [Path(name) for name in sys.argv[1:]] or sorted((HERE / "pictures").glob("*.png"))

for picture, found in zip(pictures, mrcnn.iter_detect(model, pictures, score_threshold=0.5), strict=True):
    drawing = mrcnn.draw(picture, found, as_array=True, labels=False)
    print(picture.name, found, mrcnn.save_picture(f"nuclei_{picture.stem[:8]}.png", drawing))
