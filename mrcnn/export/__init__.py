"""Trained models in forms that run without this package."""

from __future__ import annotations

from mrcnn.export.base import Exporter, ExportOptions, exporter_names, exporters, get_exporter
from mrcnn.export.check import check_answers
from mrcnn.export.compare import ACCEPTED, Difference, compare
from mrcnn.export.errors import ExportError
from mrcnn.export.portable import Description, PortableModel, describe, read_description
from mrcnn.export.saved_model import export_saved_model

__all__ = [
    "ACCEPTED",
    "Description",
    "Difference",
    "ExportError",
    "ExportOptions",
    "Exporter",
    "PortableModel",
    "check_answers",
    "compare",
    "describe",
    "export_saved_model",
    "exporter_names",
    "exporters",
    "get_exporter",
    "read_description",
]
