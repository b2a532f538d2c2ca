"""Trained models in forms that run without this package."""

from __future__ import annotations

from mrcnn.export.compare import ACCEPTED, Difference, compare
from mrcnn.export.saved_model import export_saved_model

__all__ = ["ACCEPTED", "Difference", "compare", "export_saved_model"]
