"""A look at a data set before training, and at a batch that training stopped at: counts, sizes, issues, drawings."""

from __future__ import annotations

from mrcnn.inspection.batch import inspect_batch
from mrcnn.inspection.dataset import inspect
from mrcnn.inspection.report import Inspection

__all__ = ["Inspection", "inspect", "inspect_batch"]
