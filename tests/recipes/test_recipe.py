from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from mrcnn import recipes
from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.data.augmentations.color import ColorJitter
from mrcnn.data.augmentations.flip import RandomFlip
from mrcnn.preprocessing import InputConfig
from mrcnn.recipes import Recipe, TrainConfig

# Another valid value of every field where the rule below would give an invalid one.
OTHERS: dict[str, Any] = {
    "model.backbone.depth": 101,
    "model.backbone.variant": "lite1",
    "model.backbone.norm": "gn",
    "model.neck.norm": "bn",
    "model.box_head.conv_norm": "gn",
    "model.heads.0.conv_norm": "gn",
    "model.rpn.anchors.sizes": [[8.0, 10.0], [16.0, 20.0], [32.0, 40.0], [64.0, 80.0], [128.0, 160.0]],
    "model.rpn.levels": ["p2", "p3", "p4", "p6", "p5"],
    "data.crop": [192, 256],
    "data.scale_jitter": [0.5, 1.5],
    "model.rpn.box_loss_weight": 0.5,
    "model.rpn.crowd_iou": 0.001,
    "model.rpn.allowed_border": 16.0,
    "model.roi_sampler.crowd_iou": 0.001,
    "model.input.square_side": 640,
    "model.box_head.box_loss_weight": 0.5,
    "model.box_head.stage_loss_weights": [1.0, 0.5, 0.25],
    "train.optimizer": {"sgd": "adamw", "adamw": "sgd"},
    "train.schedule": "constant",
    "train.train_layers": "4+",
    "train.clip_norm": 3.5,
    "train.unfreeze": [[0.25, "4+"], [0.5, "all"]],
    "train.layer_rates": [["backbone", 0.1]],
    "train.precision": "mixed_bfloat16",
    "train.on_nonfinite": "skip",
}

# Fields that cannot change together with all others: config that are not there, and a depth at which a field that
# does change means nothing, a softmax of classes without classes, and an activation without a loss made for it.
KEPT = {
    "model.roi_stage",
    "model.backbone.deformable",
    "model.backbone.non_local",
    "model.semantic_head",
    "model.stuff_names",
    "model.stuff_category_ids",
    "model.box_head.activation",
    "model.heads.0.class_agnostic",
    "model.backbone.last_stage",
    "data.augmentations",
}


def _choices(config: BaseConfig, prefix: str = "") -> dict[str, tuple]:
    """The values of every field that allows only a few, by dotted path."""
    result: dict[str, tuple] = {}
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        for i, item in enumerate(value if isinstance(value, tuple) else [value]):
            if isinstance(item, BaseConfig):
                result |= _choices(item, f"{path}.{i}." if isinstance(value, tuple) else f"{path}.")
        if get_origin(hints[field.name]) is Literal:
            result[path] = get_args(hints[field.name])
    return result


def _leaves(config: BaseConfig, prefix: str = "") -> dict[str, Any]:
    """Every field that is not config itself, by dotted path."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        nested = value if isinstance(value, tuple) and value and isinstance(value[0], BaseConfig) else None
        if isinstance(value, BaseConfig):
            result |= _leaves(value, f"{path}.")
        elif nested is not None:
            for i, item in enumerate(nested):
                result |= _leaves(item, f"{path}.{i}.")
        else:
            result[path] = value
    return result


def _another(path: str, value: Any, choices: dict[str, tuple]) -> Any:
    """A valid value other than `value`."""
    if path in OTHERS:
        other = OTHERS[path]
        return other[value] if isinstance(other, dict) else other
    if path in choices:
        return next(choice for choice in choices[path] if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.75 if value else 0.25
    if isinstance(value, tuple):
        return [_another("", item, choices) for item in value] if value else [3]
    if isinstance(value, str):
        return "p5" if value == "p2" else "p2"
    raise AssertionError(f"give {path} = {value!r} another value in OTHERS")


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("name", ["mask_rcnn_r50_fpn", "mask_rcnn_efficientnet_lite0_fpn"])
def test_every_field_can_be_changed_and_survives_a_file(tmp_path, name: str):
    recipe = recipes.get(name)
    leaves = _leaves(recipe)
    assert len(leaves) > 80
    choices = _choices(recipe)
    changes = {path: _another(path, value, choices) for path, value in leaves.items() if path not in KEPT}
    changed = recipe.override(changes)
    after = _leaves(changed)
    assert after.keys() == leaves.keys()
    for path, value in changes.items():
        assert _plain(after[path]) == value, path
        assert after[path] != leaves[path], path
    for suffix in (".yaml", ".json"):
        changed.save(tmp_path / f"changed{suffix}")
        again = recipes.load(tmp_path / f"changed{suffix}")
        assert again == changed
        assert _leaves(again) == after
        assert {p: type(v) for p, v in _leaves(again).items()} == {p: type(v) for p, v in after.items()}


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_augmentations_survive_a_file(tmp_path, suffix: str):
    recipe = Recipe().override({"data.augmentations": [{"kind": "ColorJitter", "hue": 0.1}, {"kind": "RandomFlip"}]})
    assert recipe.data.augmentations == (ColorJitter(hue=0.1), RandomFlip())
    recipe.save(tmp_path / f"recipe{suffix}")
    assert recipes.load(tmp_path / f"recipe{suffix}") == recipe
    with pytest.raises(ConfigError, match=r"data\.augmentations\[0\]\.kind: 'Jitter' is not one of ColorJitter, .*"):
        Recipe().override({"data.augmentations": [{"kind": "Jitter"}]})


def test_a_recipe_for_a_model_of_another_size_says_so(caplog):
    recipe = recipes.get("mask_rcnn_r50_fpn")
    assert recipe.with_model(recipe.model) == recipe and not caplog.messages
    smaller = dataclasses.replace(recipe.model, input=InputConfig(320, 512))
    assert recipe.with_model(smaller).model is smaller
    assert caplog.messages == [
        "the model resizes images to 320 (at most 512) pixels, in training too; model.input of the recipe, 800 (at "
        "most 1333), is not used"
    ]


def test_a_short_file_keeps_the_defaults(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("train: {learning_rate: 1e-3, batch_size: 4}\nmodel: {heads: []}\n")
    recipe = recipes.load(path)
    assert recipe.train == TrainConfig(learning_rate=1e-3, batch_size=4)
    assert recipe.model.heads == ()
    assert recipe.data == Recipe().data


@pytest.mark.parametrize(
    "text, message",
    [
        ("train: {learning_rat: 1}", r"train: TrainConfig has no field 'learning_rat'; it has accumulate"),
        ("train: {learning_rate: fast}", r"train\.learning_rate: expected float, got 'fast'"),
        ("train: {learning_rate: 0}", r"train\.learning_rate: expected a positive number, got 0"),
        ("train: {learning_rate: .nan}", r"train\.learning_rate: expected a number, got nan"),
        ("train: {optimizer: lamb}", r"train\.optimizer: expected one of 'sgd', 'adamw', got 'lamb'"),
        ("model: {backbone: {kind: VGG}}", r"model\.backbone\.kind: 'VGG' is not one of .*ResNetConfig"),
        ("model: {heads: [{kind: MaskHeadConfig, pool: {size: a}}]}", r"model\.heads\[0\]\.pool\.size: expected int"),
        ("model: {rpn: {anchors: {sizes: [[8], [x]]}}}", r"model\.rpn\.anchors\.sizes\[1\]\[0\]: expected float"),
        ("data: {short_sides: 800}", r"data\.short_sides: expected a list, got 800"),
        ("other: 1", r": Recipe has no field 'other'; it has data, model, train"),
        ("", r"Recipe: expected a mapping, got NoneType"),
        ("- 1", r"Recipe: expected a mapping, got list"),
        ("a: [", r"neither YAML nor JSON"),
    ],
)
def test_a_faulty_file_names_file_and_field(tmp_path, text: str, message: str):
    path = tmp_path / "faulty.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        recipes.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        recipes.get(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        recipes.load(tmp_path)
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"image\.yaml: neither YAML nor JSON"):
        recipes.load(tmp_path / "image.yaml")


def test_building_takes_the_number_of_classes_from_their_names():
    recipe = recipes.get("mask_rcnn_efficientnet_lite0_fpn")
    model = recipe.build_model(["cat", "dog", "hare"], [3, 5, 9])
    assert (model.config.num_classes, model.class_names, model.category_ids) == (3, ("cat", "dog", "hare"), (3, 5, 9))
    assert model.box_head.class_logits.units == 4
    assert recipe.model.num_classes == 80
    assert dataclasses.replace(model.config, num_classes=80) == recipe.model


def test_a_profile_takes_over_the_conventions_of_matterports_weights():
    recipe = recipes.get("mask_rcnn_r101_fpn", profile="matterport")
    model, train = recipe.model, recipe.train
    assert (model.profile, model.backbone.depth, model.backbone.norm) == ("matterport", 101, "affine_bn")
    assert (model.rpn.normalizer, model.rpn.objectness, model.box_head.box_normalizer) == (
        "means",
        "softmax",
        "elements",
    )
    assert not model.roi_sampler.append_gt and model.roi_sampler.background == "ratio"
    assert (train.clip_norm, train.decay, train.weight_decay) == (5.0, "mean_square", 1e-4)
    assert train.learning_rate * train.batch_size / recipes.REFERENCE_BATCH == pytest.approx(0.001)
    same = recipes.get("mask_rcnn_r101_fpn").override({"profile": "matterport", "train.images": 7})
    assert dataclasses.replace(same, train=train) == recipe and same.train.images == 7
    assert recipes.Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name, profile", [("mask_rcnn_r50_fpn", "caffe"), ("mask_rcnn_r50_c4", "matterport")])
def test_profiles_that_do_not_exist_or_do_not_fit_are_refused(name, profile):
    with pytest.raises(ConfigError, match="profile"):
        recipes.get(name, profile=profile)


@pytest.mark.parametrize(
    "key, meant",
    [
        ("train.lr", "learning_rate?"),
        ("train.batch", "batch_size?"),
        ("train.epochs", "images? (images seen in all: epochs x images of the training set)"),
        ("train.learning_rat", "learning_rate?"),
        ("learning_rate", "train.learning_rate?"),
        ("lr", "train.learning_rate?"),
        ("model.lr", "train.learning_rate?"),
        ("data.imgsz", "model.input.short_side?"),
        ("data.flip_horizontl", "flip_horizontal?"),
        ("modle.rpn.nms_iou", "model.rpn.nms_iou?"),
        ("trian", "train?"),
    ],
)
def test_a_name_that_does_not_exist_brings_the_one_that_was_meant(key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.get("mask_rcnn_r50_fpn").override({key: 1})
    assert str(caught.value).startswith(f"{key}: no field ")
    assert str(caught.value).endswith(f"; did you mean {meant}")


def test_a_name_like_no_other_brings_no_guess() -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.get("mask_rcnn_r50_fpn").override({"train.xyzzy": 1})
    assert "did you mean" not in str(caught.value)


def test_a_file_s_unknown_field_brings_a_guess_too() -> None:
    with pytest.raises(ConfigError, match=r"^train: TrainConfig has no field 'lr'; .*; did you mean learning_rate\?$"):
        recipes.Recipe.from_dict({"train": {"lr": 0.1}})
