from __future__ import annotations

import pytest

from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.labeling.label_config import read_label_config

POLYGONS = '<PolygonLabels name="outline" toName="img"><Label value="Cat" background="red"/></PolygonLabels>'
IMAGE = '<Image name="img" value="$photo"/>'


def test_tags_of_an_image_by_kind() -> None:
    text = f"""<View>{IMAGE}{POLYGONS}
      <RectangleLabels name="box" toName="img"><Label value="dog"/><Label value="cat"/></RectangleLabels>
      <KeyPointLabels name="joint" toName="img"><Label value="nose"/></KeyPointLabels></View>"""
    config = read_label_config(text, ["cat", "dog", "cow"])
    assert (config.image, config.key) == ("img", "photo")
    assert {kind: control.name for kind, control in config.controls.items()} == {
        "polygon": "outline",
        "rectangle": "box",
        "keypoint": "joint",
    }
    assert config.labels == {"cat": {"polygon": "Cat", "rectangle": "cat"}, "dog": {"rectangle": "dog"}}


def test_one_class_and_one_label_are_the_same() -> None:
    text = f"<View>{IMAGE}{POLYGONS}</View>"
    assert read_label_config(text, ["nucleus"]).labels == {"nucleus": {"polygon": "Cat"}}
    with pytest.raises(InputError, match="its labels are Cat, expected some of the model's: dog, cow"):
        read_label_config(text, ["dog", "cow"])


def test_labels_that_name_classes() -> None:
    label = '<Label value="animal" predicted_values="cat, dog"/>'
    text = f'<View>{IMAGE}<BrushLabels name="b" toName="img">{label}</BrushLabels></View>'
    assert read_label_config(text, ["dog", "cow"]).labels == {"dog": {"brush": "animal"}}


def test_the_tag_of_another_image_is_none() -> None:
    text = f'<View>{IMAGE}<Image name="b" value="$other"/>{POLYGONS.replace("img", "b")}</View>'
    assert read_label_config(text, ["cat"]).key == "other"


@pytest.mark.parametrize(
    "text, message",
    [
        ("<View>", "not valid XML"),
        ('<!DOCTYPE v [<!ENTITY a "b">]><View/>', "document type"),
        ("<View/>", 'expected an Image with value="\\$..."'),
        (f"<View>{IMAGE}<Choices name='c' toName='img'/></View>", "expected an Image"),
        (f"<View>{POLYGONS}<Text name='img' value='$text'/></View>", "expected an Image"),
    ],
)
def test_what_a_model_cannot_fill(text: str, message: str) -> None:
    with pytest.raises((InputError, DataError), match=message):
        read_label_config(text, ["cat"])
