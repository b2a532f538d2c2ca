"""Names and shapes of detectron2's state dicts for networks of any size, written down from its modules."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference.state_dicts import Shape

Shapes = dict[str, Shape]
PYRAMID = 16  # channels of every level
STAGES = range(4)


def dense(name: str, *sides: int, bias: bool = True) -> Shapes:
    """A weight and, of its first side, a bias."""
    return {f"{name}.weight": Shape(*sides)} | ({f"{name}.bias": Shape(sides[0])} if bias else {})


def norm(name: str, channels: int) -> Shapes:
    """A scale and a shift."""
    return {f"{name}.weight": Shape(channels), f"{name}.bias": Shape(channels)}


def normed_conv(name: str, *sides: int) -> Shapes:
    """A convolution without bias, and its layer norm."""
    return dense(name, *sides, bias=False) | norm(f"{name}.norm", sides[0])


def mlp(name: str, width: int, ratio: int) -> Shapes:
    """The two layers behind an attention."""
    return dense(f"{name}.fc1", ratio * width, width) | dense(f"{name}.fc2", width, ratio * width)


def vit(
    depth: int, width: int, heads: int, window: int, grid: int, whole: Sequence[int], positions: int, ratio: int = 4
) -> Shapes:
    """A plain Vision Transformer and its pyramid. Ref: modeling/backbone/vit.py.

    Args:
        positions: entries of `pos_embed`; 0: there is none.
    """
    own = dense("patch_embed.proj", width, 3, 16, 16)
    own |= {"pos_embed": Shape(1, positions, width)} if positions else {}
    for i in range(depth):
        side = grid if i in whole else window
        own |= norm(f"blocks.{i}.norm1", width) | norm(f"blocks.{i}.norm2", width)
        own |= dense(f"blocks.{i}.attn.qkv", 3 * width, width) | dense(f"blocks.{i}.attn.proj", width, width)
        own |= {f"blocks.{i}.attn.rel_pos_{axis}": Shape(2 * side - 1, width // heads) for axis in "hw"}
        own |= mlp(f"blocks.{i}.mlp", width, ratio)
    half, quarter, p = width // 2, width // 4, PYRAMID
    pyramid = {"2.0.weight": Shape(width, half, 2, 2), "2.0.bias": Shape(half)} | norm("2.1", half)
    pyramid |= {"2.3.weight": Shape(half, quarter, 2, 2), "2.3.bias": Shape(quarter)}
    pyramid |= {"3.0.weight": Shape(width, half, 2, 2), "3.0.bias": Shape(half)}
    for level, first, channels in ((2, 4, quarter), (3, 1, half), (4, 0, width), (5, 1, width)):
        pyramid |= normed_conv(f"{level}.{first}", p, channels, 1, 1)
        pyramid |= normed_conv(f"{level}.{first + 1}", p, p, 3, 3)
    named = {f"backbone.net.{name}": shape for name, shape in own.items()}
    return named | {f"backbone.simfp_{name}": shape for name, shape in pyramid.items()}


def swin(depths: Sequence[int], heads: Sequence[int], width: int, window: int, ratio: int = 4) -> Shapes:
    """A Swin Transformer and its pyramid. Ref: modeling/backbone/swin.py."""
    own = dense("patch_embed.proj", width, 3, 4, 4) | norm("patch_embed.norm", width)
    for stage in STAGES:
        channels = width << stage
        for number in range(depths[stage]):
            block = f"layers.{stage}.blocks.{number}"
            own |= norm(f"{block}.norm1", channels) | norm(f"{block}.norm2", channels)
            own |= dense(f"{block}.attn.qkv", 3 * channels, channels) | dense(f"{block}.attn.proj", channels, channels)
            own[f"{block}.attn.relative_position_bias_table"] = Shape((2 * window - 1) ** 2, heads[stage])
            own[f"{block}.attn.relative_position_index"] = Shape(window**2, window**2)
            own |= mlp(f"{block}.mlp", channels, ratio)
        own |= norm(f"norm{stage}", channels)
        if stage < 3:
            own |= norm(f"layers.{stage}.downsample.norm", 4 * channels)
            own |= dense(f"layers.{stage}.downsample.reduction", 2 * channels, 4 * channels, bias=False)
    return _bottom_up(own) | pyramid([width << stage for stage in STAGES], is_normed=True)


def mvit(depths: Sequence[int], width: int, heads: int, grid: int, ratio: int = 4) -> Shapes:
    """An MViTv2 and its pyramid. Ref: modeling/backbone/mvit.py."""
    own, number, before, head = dense("patch_embed.proj", width, 3, 7, 7), 0, width, width // heads
    for stage in STAGES:
        channels = width << stage
        for position in range(depths[stage]):
            block, is_first, is_last = f"blocks.{number}", stage > 0 and position == 0, position == depths[stage] - 1
            kv_stride = max(4 >> stage, 1) * (2 if is_last and stage in (1, 2) else 1)
            side = grid >> (stage - is_first)  # of the map that comes in
            side = max(side // (2 if is_first else 1), side // kv_stride)
            own |= norm(f"{block}.norm1", before) | norm(f"{block}.norm2", channels)
            own |= dense(f"{block}.attn.qkv", 3 * channels, before) | dense(f"{block}.attn.proj", channels, channels)
            for x in "qkv":
                own |= {f"{block}.attn.pool_{x}.weight": Shape(head, 1, 3, 3)} | norm(f"{block}.attn.norm_{x}", head)
            own |= {f"{block}.attn.rel_pos_{axis}": Shape(2 * side - 1, head) for axis in "hw"}
            own |= mlp(f"{block}.mlp", channels, ratio) | (dense(f"{block}.proj", channels, before) if is_first else {})
            before, number = channels, number + 1
        own |= norm(f"scale{stage + 2}_norm", channels)
    return _bottom_up(own) | pyramid([width << stage for stage in STAGES])


def _bottom_up(own: Shapes) -> Shapes:
    return {f"backbone.bottom_up.{name}": shape for name, shape in own.items()}


def pyramid(channels: Sequence[int], is_normed: bool = False) -> Shapes:
    """A feature pyramid, with layer norm or a bias. Ref: modeling/backbone/fpn.py."""
    conv, shapes = normed_conv if is_normed else dense, {}
    for level, width in enumerate(channels, start=2):
        shapes |= conv(f"backbone.fpn_lateral{level}", PYRAMID, width, 1, 1)
        shapes |= conv(f"backbone.fpn_output{level}", PYRAMID, PYRAMID, 3, 3)
    return shapes


def heads(classes: int, mask: Shapes, fcs: Sequence[int] = (24, 12), num_rpn_convs: int = 1) -> Shapes:
    """RPN and box head, of this many things and dense layers, beside the arrays of a mask head."""
    rpn, p = "proposal_generator.rpn_head", PYRAMID
    convs = ["conv"] if num_rpn_convs == 1 else [f"conv.conv{i}" for i in range(num_rpn_convs)]
    shapes: Shapes = {}
    for conv in convs:
        shapes |= dense(f"{rpn}.{conv}", p, p, 3, 3)
    shapes |= dense(f"{rpn}.objectness_logits", 3, p, 1, 1) | dense(f"{rpn}.anchor_deltas", 12, p, 1, 1)
    before = p * 49
    for i, width in enumerate(fcs, start=1):
        shapes |= dense(f"roi_heads.box_head.fc{i}", width, before)
        before = width
    shapes |= dense("roi_heads.box_predictor.cls_score", classes + 1, before)
    return shapes | dense("roi_heads.box_predictor.bbox_pred", 4 * classes, before) | mask


def mask_head(classes: int, convs: Sequence[int] = (8, 6), deconv: int = 10) -> Shapes:
    """Convolutions, a transposed one, a mask of each class. Ref: modeling/roi_heads/mask_head.py."""
    shapes, before = {}, PYRAMID
    for i, width in enumerate(convs, start=1):
        shapes |= dense(f"roi_heads.mask_head.mask_fcn{i}", width, before, 3, 3)
        before = width
    shapes |= {"roi_heads.mask_head.deconv.weight": Shape(before, deconv, 2, 2)}
    shapes |= {"roi_heads.mask_head.deconv.bias": Shape(deconv)}
    return shapes | dense("roi_heads.mask_head.predictor", classes, deconv, 1, 1)


def point_rend(
    classes: int, reduced: int, fcs: Sequence[int], side: int, pool: int, points: Sequence[int], each: bool = True
) -> Shapes:
    """PointRend's mask head. Ref: projects/PointRend/point_rend/{mask_head,point_head}.py.

    Args:
        classes: things only.
        reduced: channels of the coarse head's convolutions.
        fcs, points: widths of the dense layers of the coarse head, and of those that points share.
        side: of the coarse mask.
        pool: cells a side that a RoI is sampled at.
        each: whether the coarse mask enters every layer of the points.
    """
    head = "roi_heads.mask_head"
    shapes: Shapes = {}
    if reduced < PYRAMID:
        shapes |= dense(f"{head}.coarse_head.reduce_channel_dim_conv", reduced, PYRAMID, 1, 1)
    shapes |= dense(f"{head}.coarse_head.reduce_spatial_dim_conv", reduced, min(reduced, PYRAMID), 2, 2)
    before = reduced * (pool // 2) ** 2
    for i, width in enumerate(fcs, start=1):
        shapes |= dense(f"{head}.coarse_head.fc{i}", width, before)
        before = width
    shapes |= dense(f"{head}.coarse_head.prediction", classes * side**2, before)
    before = PYRAMID + classes
    for i, width in enumerate(points, start=1):
        shapes |= dense(f"{head}.point_head.fc{i}", width, before, 1)
        before = width + (classes if each else 0)
    return shapes | dense(f"{head}.point_head.predictor", classes, before, 1)
