"""The nouns: shapes, conventions and types shared by every module of the package.

Conventions
    * Images and feature maps are NHWC.
    * Boxes are (y1, x1, y2, x2), float32, absolute pixels of the frame they live in, continuous: pixel i
      spans [i, i + 1), so a box of one pixel has side 1 and no "+ 1" appears anywhere.
    * Class 0 is background; things are 1..C.
    * Padding is marked by a boolean `valid`, never by a special value.
    * Box arithmetic and losses are float32 under any precision policy.

Alphabet
    B batch, H x W padded image, G ground-truth entries with padding, A anchors, P proposals, S sampled RoIs,
    F foreground RoIs (the first F of S), D detections, C object classes, K side of a stored ground-truth mask,
    M side of a predicted mask, J keypoint joints.

Glossary
    proposal: a box from the RPN. RoI: a box being pooled. detection: a final result of the model.
    instance: one object in one image, true or predicted. "mask" always means a segmentation mask.
"""
