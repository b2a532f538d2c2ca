"""Swin Transformer against plain loops over cells; its config; that it freezes, saves, trains and leaves blocks out."""

from __future__ import annotations

import dataclasses
import math
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.export.served_check import pixel_inputs
from mrcnn.modeling.backbones.swin import MergeCells, PadToMultiple, SwinConfig, WindowAttention
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.variables import named_variables
from tests.ground_truth import batch_of
from tests.mean_color import write_set
from tests.modeling.backbone_model import after_a_step, check_fresh_process
from tests.tiny_model import noise_images, tiny_config

SMALL = SwinConfig(depths=(2, 1, 1, 2), num_heads=(1, 2, 2, 4), width=4, window=3, mlp_ratio=2)


def norm(x, gamma, beta):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def attention(x, weights, heads, window, shift):
    """One query cell after the other: who shares its window, and is its neighbor on the map, is weighed by dot product.

    The padded map is a torus, on which the grid of windows lies `shift` cells further. Two cells of one window are
    neighbors unless the window hangs over an edge of the map between them.
    """
    height, width, channels = x.shape
    rows, columns = (-(-side // window) * window for side in (height, width))
    padded = np.zeros((rows, columns, channels))
    padded[:height, :width] = x
    qkv = padded @ weights["qkv/kernel"] + weights["qkv/bias"]
    depth = channels // heads
    table = weights["position_bias"].reshape(2 * window - 1, 2 * window - 1, heads)
    out = np.zeros((height, width, channels))
    for i in range(height):
        for j in range(width):
            # The corner of the window of (i, j), which may lie beyond the edge at which the torus is cut.
            top, left = ((a - shift) // window * window + shift for a in (i, j))
            others = []
            for dy in range(window):
                for dx in range(window):
                    y, x_ = top + dy, left + dx
                    same_side = (y // rows, x_ // columns) == (0, 0)  # (i, j) itself is on the map
                    others.append((y % rows, x_ % columns, dy - (i - top), dx - (j - left), same_side))
            for h in range(heads):
                part = slice(h * depth, (h + 1) * depth)
                q = qkv[i, j, :channels][part] / math.sqrt(depth)
                # Relative position is that of the query seen from the key.
                scores = [
                    q @ qkv[y, x_, channels : 2 * channels][part] + table[window - 1 - dy, window - 1 - dx, h]
                    for y, x_, dy, dx, _ in others
                ]
                shares = np.exp(scores) * [same for *_, same in others]
                values = [qkv[y, x_, 2 * channels :][part] for y, x_, *_ in others]
                out[i, j, part] = (shares / shares.sum()) @ values
    return out @ weights["project/kernel"] + weights["project/bias"]


def weights_of(layer) -> dict[str, np.ndarray]:
    return {v.path.removeprefix(f"{layer.name}/"): np.asarray(v, np.float64) for v in layer.weights}


def randomize(layer, rng, scale=0.5):
    for variable in layer.weights:
        variable.assign(rng.normal(0.1, scale, variable.shape))


@pytest.mark.parametrize("size", [(6, 9), (7, 5), (2, 3)])
@pytest.mark.parametrize("shift", [0, 1])
def test_attention_equals_plain_loops(rng, size, shift):
    layer = WindowAttention(2, window=3, shift=shift, name="a")
    layer.build((None, None, None, 4))
    randomize(layer, rng)
    x = rng.normal(0, 1, (2, *size, 4))
    ours = layer(x.astype(np.float32)).numpy()
    for image, mine in zip(x, ours, strict=True):
        np.testing.assert_allclose(mine, attention(image, weights_of(layer), 2, 3, shift), rtol=1e-4, atol=1e-4)


def test_bias_of_a_relative_position_is_read_from_its_row():
    """With equal keys only the biases weigh: from the middle of a window each cell has the bias of its own offset."""
    layer = WindowAttention(1, window=3, name="a")
    layer.build((None, None, None, 1))
    for variable in layer.weights:
        variable.assign(tf.zeros(variable.shape))
    layer.qkv.kernel.assign([[0.0, 0.0, 1.0]])
    layer.project.kernel.assign([[1.0]])
    # The query at (1, 1), the key at (0, 2): the query is one row further down and one column further left.
    row = (1 + 2) * 5 + (-1 + 2)
    layer.position_bias.assign(tf.tensor_scatter_nd_update(tf.zeros((25, 1)), [[row, 0]], [30.0]))
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    assert float(layer(x)[0, 1, 1, 0]) == pytest.approx(x[0, 0, 2, 0], abs=1e-4)


def test_attention_of_an_image_does_not_depend_on_others(rng):
    layer = WindowAttention(2, window=3, shift=1)
    x = rng.normal(0, 1, (3, 5, 7, 4)).astype(np.float32)
    np.testing.assert_allclose(layer(x)[1:2], layer(x[1:2]), rtol=1e-5, atol=1e-6)


def test_network_equals_plain_loops(rng):
    model = SMALL.build()
    values = {}
    for layer in model.layers:
        randomize(layer, rng, 0.3)
        for name, value in weights_of(layer).items():
            values[f"{layer.name}/{name}"] = value
    image = rng.normal(0, 1, (45, 66, 3))
    ours = {name: np.asarray(x)[0] for name, x in model(image[None].astype(np.float32)).items()}

    def of(name):
        return {k.removeprefix(name): v for k, v in values.items() if k.startswith(name)}

    def dense(x, name):
        return x @ values[f"{name}/kernel"] + values.get(f"{name}/bias", 0)

    def layer_norm(x, name):
        return norm(x, values[f"{name}/gamma"], values[f"{name}/beta"])

    padded = np.pad(image, [(0, 3), (0, 2), (0, 0)])
    kernel = values["stem_conv/kernel"]
    x = np.array(
        [[np.tensordot(padded[i : i + 4, j : j + 4], kernel, 3) for j in range(0, 68, 4)] for i in range(0, 48, 4)]
    )
    x = layer_norm(x + values["stem_conv/bias"], "stem_norm")
    for stage, (depth, heads) in enumerate(zip(SMALL.depths, SMALL.num_heads, strict=True), start=2):
        if stage > 2:
            x = np.pad(x, [(0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)])
            x = np.concatenate([x[0::2, 0::2], x[0::2, 1::2], x[1::2, 0::2], x[1::2, 1::2]], -1)
            x = dense(layer_norm(x, f"stage{stage}_down_norm"), f"stage{stage}_down_reduce")
        for number in range(depth):
            name = f"stage{stage}_block{number + 1}"
            y = layer_norm(x, f"{name}_norm1")
            x = x + attention(y, of(f"{name}_attention/"), heads, 3, number % 2)
            y = dense(layer_norm(x, f"{name}_norm2"), f"{name}_expand")
            x = x + dense(y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2))), f"{name}_project")
        expected = layer_norm(x, f"stage{stage}_out_norm")
        assert ours[f"c{stage}"].shape == (-(-45 // 2**stage), -(-66 // 2**stage), SMALL.channels[f"c{stage}"])
        np.testing.assert_allclose(ours[f"c{stage}"], expected, rtol=1e-3, atol=1e-3)


def test_cells_are_padded_and_merged():
    x = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
    assert np.asarray(MergeCells()(x)).tolist() == [[[[0, 1, 0, 0], [2, 0, 0, 0]]]]
    assert np.asarray(PadToMultiple(2)(x))[0, :, :, 0].tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]


def test_stages_freeze():
    model = dataclasses.replace(SMALL, freeze_at=3).build()
    assert {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights} == {"stage4", "stage5"}


@pytest.mark.slow
def test_a_step_changes_what_is_not_frozen():
    _, changed, stages = after_a_step(dataclasses.replace(SMALL, freeze_at=3))
    # What the keys' bias adds to all scores of a query alike is no matter, but it is a part of one array with others.
    assert {path for path in stages if path in changed} == {path for path, stage in stages.items() if stage > 3}


@pytest.mark.slow
def test_fresh_process_computes_the_same(tmp_path):
    model = MaskRCNN(dataclasses.replace(tiny_config(), backbone=SMALL), ["thing", "other"])
    check_fresh_process(model, tmp_path)


@pytest.mark.slow
def test_saved_model_computes_the_same(tmp_path):
    """With operations of TensorFlow alone, which the export sees to."""
    keras.utils.set_random_seed(0)
    model = MaskRCNN(dataclasses.replace(tiny_config(), backbone=SMALL), ["thing", "other"])
    images = noise_images(2)
    path = mrcnn.export_saved_model(model, tmp_path / "saved")
    signatures = tf.saved_model.load(str(path)).signatures
    served = signatures["serving_default"](**{k: tf.constant(v) for k, v in pixel_inputs(images).items()})
    for i, ours in enumerate(mrcnn.detect(model, images, score_threshold=None)):
        number = int(served["num_detections"][i])
        assert number == len(ours)
        np.testing.assert_allclose(served["scores"][i][:number], ours.scores, atol=1e-4)
        np.testing.assert_allclose(served["boxes"][i][:number], ours.boxes, atol=1e-3)


def _features(model: MaskRCNN, seeds, training=True) -> np.ndarray:
    image = np.full((len(seeds), 64, 64, 3), 0.5, np.float32)
    return model.run_backbone(tf.constant(image), training, tf.constant(seeds))["c5"].numpy()


def test_blocks_are_left_out_by_the_seed_of_an_image():
    config = dataclasses.replace(SMALL, drop_path=0.6)
    model = MaskRCNN(dataclasses.replace(tiny_config(), backbone=config), ["thing", "other"])
    plain = _features(model, [[0, 0]], training=False)
    np.testing.assert_array_equal(plain, model.backbone(np.full((1, 64, 64, 3), 0.5, np.float32))["c5"])
    seeds = [[number, 7] for number in range(8)]
    together = _features(model, seeds)
    assert len({features.tobytes() for features in together.round(4)}) > 3
    for number in (0, 5):
        np.testing.assert_allclose(_features(model, [seeds[number]])[0], together[number], rtol=1e-4, atol=1e-5)
    model.recompute_backbone = True
    np.testing.assert_allclose(_features(model, seeds), together, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradient_of_recomputed_features_leaves_the_same_blocks_out():
    keras.utils.set_random_seed(1)
    config = dataclasses.replace(SMALL, drop_path=0.6)
    model = MaskRCNN(dataclasses.replace(tiny_config(), backbone=config), ["thing", "other"])
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    batch = batch_of([image], [[{"box": (8, 8, 50, 60)}]])
    batch["seed"] = tf.constant([[5, 9]])

    def gradients() -> list[np.ndarray]:
        @tf.function
        def compute():
            with tf.GradientTape() as tape:
                features = model.extract_features(batch, training=True)
                loss = tf.add_n([tf.reduce_sum(tf.square(level)) for level in features.values()])
            return tape.gradient(loss, [v.value for v in model.backbone.trainable_variables])

        return [tf.convert_to_tensor(g).numpy() for g in compute()]

    kept = gradients()
    model.recompute_backbone = True
    for again, first in zip(gradients(), kept, strict=True):
        np.testing.assert_allclose(again, first, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(first).max()))


class StopAt(keras.callbacks.Callback):
    """Asks the run to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
def test_a_run_with_stochastic_depth_resumes_exactly(tmp_path):
    data = write_set(tmp_path / "images", num=3, side=64)
    changes = {
        "model.input.short_side": 64,
        "model.input.long_side": 64,
        "data.mask_side": 14,
        "train.images": 8,
        "train.batch_size": 2,
        "train.optimizer": "adamw",
        "train.train_layers": "all",
    }
    recipe = mrcnn.recipes.get("mask_rcnn_swin_t_fpn").override(changes)

    def run(seed: int, out: str, **options) -> dict[str, np.ndarray]:
        keras.utils.set_random_seed(seed)
        backbone = dataclasses.replace(SMALL, depths=(1, 1, 1, 1), drop_path=0.6)
        config = dataclasses.replace(tiny_config(), backbone=backbone, heads=())
        model = MaskRCNN(config, ["thing", "other"], [3, 8])
        mrcnn.train(model, data, recipe=recipe, out=tmp_path / out, progress=False, **options)
        return {path: variable.numpy() for path, variable in named_variables(model).items()}

    whole = run(1, "whole")
    with pytest.raises(SystemExit):
        run(1, "stopped", callbacks=[StopAt(2)])
    resumed = run(2, "stopped", resume=True)
    for path, value in whole.items():
        np.testing.assert_array_equal(resumed[path], value, err_msg=path)


def test_rates_rise_from_block_to_block():
    model = dataclasses.replace(SMALL, drop_path=0.5).build()
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop")]
    np.testing.assert_allclose(rates, np.repeat([0.1, 0.2, 0.3, 0.4, 0.5], 2))


def test_names_of_weights_do_not_depend_on_stochastic_depth():
    names = [set(named_variables(dataclasses.replace(SMALL, drop_path=rate).build())) for rate in (0.0, 0.3)]
    assert names[0] == names[1]


def test_titles_and_channels():
    assert SwinConfig().title == "Swin T"
    assert SwinConfig(depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), width=128, window=12).title == "Swin B window 12"
    assert SMALL.title == "Swin (2, 1, 1, 2) (1, 2, 2, 4) 4 window 3"
    assert SMALL.channels == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


@pytest.mark.parametrize(
    "change",
    [
        {"depths": (1, 1)},
        {"depths": (0, 1, 1, 1)},
        {"width": 10**6},
        {"window": 0},
        {"mlp_ratio": 0},
        {"num_heads": (5, 6, 12, 24)},
        {"drop_path": 1.0},
        {"norm": "bn"},
    ],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ConfigError, match="backbone"):
        SwinConfig(**change)


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match="shift"):
        WindowAttention(1, window=3, shift=3)
    with pytest.raises(ValueError, match="heads"):
        WindowAttention(3).build((None, None, None, 4))
