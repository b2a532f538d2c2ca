"""Region proposal network. Ref: Faster R-CNN, section 3.1; Feature Pyramid Networks, section 4.1."""

from mrcnn.modeling.rpn.config import AnchorConfig, RPNConfig
from mrcnn.modeling.rpn.network import RPN
from mrcnn.modeling.rpn.proposals import Candidates, candidates_of, proposals_of, select_candidates
from mrcnn.modeling.rpn.targets import AnchorSample, sample_anchors

__all__ = [
    "RPN",
    "AnchorConfig",
    "AnchorSample",
    "Candidates",
    "RPNConfig",
    "candidates_of",
    "proposals_of",
    "sample_anchors",
    "select_candidates",
]
