"""Names, layouts and sizes of Vision Transformers."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.inference import detect
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy
from mrcnn.modeling.losses.sigmoid import ClassFederated
from mrcnn.weights import detectron2, vit
from mrcnn.weights.pretrained import load_pretrained
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError
from tests.reference.containers import write_torch_zip
from tests.reference.state_dicts import Shape, golden_shapes, narrow, of_classes

NAME = "d2_mask_vitdet"


def of_other_sizes(depth=7, width=160, head=80, window=8, grid=24, whole=(3, 6), positions=9) -> dict:
    """The golden file's names for a network of other sizes."""
    template = {k: v for k, v in golden_shapes(NAME).items() if not k.startswith("backbone.net.blocks.")}
    block = {
        k.removeprefix("backbone.net.blocks.0."): v.shape
        for k, v in golden_shapes(NAME).items()
        if k.startswith("backbone.net.blocks.0.")
    }
    arrays = {}
    for name, value in template.items():
        shape = [width * s // 192 if s in (48, 96, 192) and name.startswith("backbone.") else s for s in value.shape]
        arrays[name] = Shape(*shape)
    arrays["backbone.net.pos_embed"] = Shape(1, positions, width)
    for i in range(depth):
        side = grid if i in whole else window
        for name, shape in block.items():
            sides = [width * s // 192 if s % 192 == 0 else s for s in shape]
            sides = [2 * side - 1, head] if "rel_pos" in name else sides
            arrays[f"backbone.net.blocks.{i}.{name}"] = Shape(*sides)
    return arrays


def test_sizes_are_read_off_names_and_shapes():
    arrays = of_other_sizes()
    network = detectron2.describe(arrays)
    config = PROFILES["detectron2"].model_config(network.overrides)
    backbone = config.backbone
    assert (backbone.depth, backbone.width, backbone.num_heads, backbone.mlp_ratio) == (7, 160, 2, 4)
    assert (backbone.window, backbone.grid, backbone.global_blocks, backbone.position_grid) == (8, 24, (3, 6), 3)
    assert (config.neck.level, config.neck.norm, config.neck.channels) == ("c4", "ln", 256)
    ours = detectron2.to_ours(arrays, network)
    assert ours.unused == ()
    assert ours["backbone/stem_positions/embedding"].shape == (3, 3, 160)


def test_a_class_token_may_be_there_or_not():
    sides = [detectron2.describe(of_other_sizes(positions=n))["backbone.position_grid"] for n in (16, 17)]
    assert sides == [4, 4]
    arrays = of_other_sizes()
    del arrays["backbone.net.pos_embed"]
    assert detectron2.describe(arrays)["backbone.position_grid"] == 0


def test_blocks_of_one_size_are_all_global():
    network = detectron2.describe(of_other_sizes(window=24))
    assert (network["backbone.window"], network["backbone.global_blocks"]) == (0, tuple(range(7)))
    assert "all blocks global, for their relative positions are of one size" in network.assumptions


def test_positions_on_their_grid():
    x = np.arange(10.0).reshape(1, 10, 1)
    np.testing.assert_array_equal(vit.positions_on_grid(x)[..., 0], np.arange(1, 10).reshape(3, 3))
    np.testing.assert_array_equal(vit.positions_on_grid(x[:, 1:]), vit.positions_on_grid(x))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("blocks.3.attn.rel_pos_h", (46, 80), "as many as rows"),
        ("blocks.3.attn.rel_pos_w", (47, 40), "channels of a head"),
        ("patch_embed.proj.weight", (160, 3, 14, 14), "patches of 14 x 14 pixels, expected 16 x 16"),
        ("pos_embed", (1, 12, 160), "pos_embed is"),
        ("blocks.0.mlp.fc1.weight", (250, 160), "a multiple"),
    ],
)
def test_shapes_that_contradict_each_other(name, shape, message):
    with pytest.raises(WeightsError, match=message):
        detectron2.describe(of_other_sizes() | {f"backbone.net.{name}": Shape(*shape)})


def test_windows_of_several_sizes_are_refused():
    arrays = of_other_sizes()
    for axis in "hw":
        arrays[f"backbone.net.blocks.1.attn.rel_pos_{axis}"] = Shape(9, 80)
    with pytest.raises(WeightsError, match=r"maps of \[5, 8, 24\] cells"):
        detectron2.describe(arrays)


def test_a_network_of_lvis_loads_with_names_and_scores(tmp_path):
    shapes = of_other_sizes(depth=2, width=24, head=12, window=4, grid=8, whole=(1,), positions=17)
    state = narrow(of_classes(shapes, 1203))
    write_torch_zip(tmp_path / "model.pth", state)
    sizes = {"short_side": 64, "long_side": 64, "square_pad": 64, "rpn.post_nms_test": 20}
    model = load_pretrained(tmp_path / "model.pth", **sizes, score_threshold=0.0)
    assert (model.config.num_classes, model.class_names[1202]) == (1203, "zucchini")
    assert model.load_report.is_complete and not model.load_report.unused
    assert model.config.box_head.class_loss == ClassFederated(image_counts="lvis_v1")
    score = state["roi_heads.box_predictor.cls_score.bias"]  # background last
    np.testing.assert_array_equal(model.box_head.class_logits.bias[1:], score[:-1])
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    [result] = detect(model, [image])
    assert len(result) == 300 and len(set(result.class_ids.tolist())) > 10  # a RoI may be of many classes
    head = load_pretrained(tmp_path / "model.pth", **sizes, class_scores="softmax").config.box_head
    assert (head.activation, head.class_loss, head.max_detections) == ("softmax", ClassCrossEntropy(), 300)
    same = load_pretrained(tmp_path / "model.pth", **sizes, class_scores="sigmoid", num_classes=3)
    assert same.config.box_head.class_loss == ClassFederated()
    with pytest.raises(ConfigError, match=r"class_scores: expected .softmax. or .sigmoid., got 'tanh'"):
        load_pretrained(tmp_path / "model.pth", class_scores="tanh")


def test_without_relative_positions_attention_is_as_published_and_this_is_said():
    arrays = {name: shape for name, shape in of_other_sizes(8, 192).items() if "rel_pos" not in name}
    network = detectron2.describe(arrays)
    backbone = PROFILES["detectron2"].model_config(network.overrides).backbone
    assert (backbone.num_heads, backbone.window, backbone.grid, backbone.global_blocks) == (3, 14, 0, (1, 3, 5, 7))
    (said,) = [sentence for sentence in network.assumptions if "no relative positions" in sentence]
    assert said.startswith(
        "3 heads (backbone.num_heads), windows of 14 cells (backbone.window), blocks 1, 3, 5, 7 global"
    )
    assert detectron2.to_ours(arrays, network).unused == ()


def test_heads_of_a_width_that_no_published_one_has():
    for width, heads in ((768, 12), (1024, 16), (1280, 16), (160, 1), (48, 1)):
        assert vit._as_published(4, width)["backbone.num_heads"] == heads
    assert vit._as_published(2, 64)["backbone.global_blocks"] == (0, 1)


def test_a_missing_table_of_relative_positions_is_named():
    arrays = of_other_sizes()
    del arrays["backbone.net.blocks.0.attn.rel_pos_h"]
    with pytest.raises(WeightsError, match="nothing in it is backbone/block1_attention/rows"):
        detectron2.describe(arrays)


def test_the_grid_of_absolute_positions_is_said():
    assumptions = detectron2.describe(of_other_sizes(positions=50)).assumptions
    assert "absolute positions of a grid of 7 x 7, interpolated to the image's" in assumptions
