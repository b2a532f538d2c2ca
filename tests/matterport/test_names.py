"""Every attribute that matterport's modules have, those they import among them."""

from __future__ import annotations

import importlib
import importlib.util

import keras
import pytest

from mrcnn.matterport.names import imported
from mrcnn.matterport.refusals import explain

UPSTREAM = {
    "config": "np Config",
    "parallel_model": "tf keras K KL KM ParallelModel",
    "utils": """sys os logging math random np tf scipy skimage urllib shutil warnings LooseVersion COCO_MODEL_URL
        extract_bboxes compute_iou compute_overlaps compute_overlaps_masks non_max_suppression apply_box_deltas
        box_refinement_graph box_refinement Dataset resize_image resize_mask minimize_mask expand_mask mold_mask
        unmold_mask generate_anchors generate_pyramid_anchors trim_zeros compute_matches compute_ap compute_ap_range
        compute_recall batch_slice download_trained_weights norm_boxes denorm_boxes resize""",
    "visualize": """os sys random itertools colorsys np find_contours plt patches lines Polygon IPython ROOT_DIR utils
        display_images random_colors apply_mask display_instances display_differences draw_rois draw_box
        display_top_masks plot_precision_recall plot_overlaps draw_boxes display_table display_weight_stats""",
    "model": """os random datetime re math logging OrderedDict multiprocessing np tf keras K KL KE KM utils LooseVersion
        log BatchNorm compute_backbone_shapes identity_block conv_block resnet_graph apply_box_deltas_graph
        clip_boxes_graph ProposalLayer log2_graph PyramidROIAlign overlaps_graph detection_targets_graph
        DetectionTargetLayer refine_detections_graph DetectionLayer rpn_graph build_rpn_model fpn_classifier_graph
        build_fpn_mask_graph smooth_l1_loss rpn_class_loss_graph rpn_bbox_loss_graph mrcnn_class_loss_graph
        mrcnn_bbox_loss_graph mrcnn_mask_loss_graph load_image_gt build_detection_targets build_rpn_targets
        generate_random_rois data_generator MaskRCNN compose_image_meta parse_image_meta parse_image_meta_graph
        mold_image unmold_image trim_zeros_graph batch_pack_graph norm_boxes_graph denorm_boxes_graph""",
}
OPTIONAL = {"IPython", "skimage", "scipy"}


@pytest.mark.parametrize("module", sorted(UPSTREAM))
@pytest.mark.parametrize("package", ["mrcnn", "mrcnn.matterport"])
def test_every_attribute_of_upstreams_modules(package, module):
    result = importlib.import_module(f"{package}.{module}")
    for name in UPSTREAM[module].split():
        if name in OPTIONAL and importlib.util.find_spec(name) is None:
            with pytest.raises(AttributeError, match="not installed") as caught:
                getattr(result, name)
            assert "fork" not in (explain(caught.value) or "")
        else:
            assert getattr(result, name) is not None


def test_keras_under_its_old_names():
    from mrcnn.model import KE, KL, KM, K

    assert KE.Layer is keras.layers.Layer and KM.Model is keras.Model and KL.Dense is keras.layers.Dense
    assert K.image_data_format() == "channels_last"
    assert issubclass(type("Own", (KE.Layer,), {}), keras.layers.Layer)


def test_what_is_not_there_is_named():
    with pytest.raises(AttributeError, match="'m' has no attribute 'splash'"):
        imported("m", {}, "splash")
    with pytest.raises(AttributeError, match=r"m\.x is no_such_module_at_all, which is not installed"):
        imported("m", {"x": "no_such_module_at_all"}, "x")


def test_model_checkpoint_and_multi_gpu_model_end_with_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"weights\.h5") as caught:
        keras.callbacks.ModelCheckpoint(str(tmp_path / "x.h5"), save_weights_only=True)
    assert "model.checkpoint_path" in explain(caught.value) and "\n" not in explain(caught.value)
    with pytest.raises(ImportError) as caught:
        from keras.utils import multi_gpu_model  # noqa: F401
    assert "strategy" in explain(caught.value) and "fork" not in explain(caught.value)
