"""What an evaluation found, to look at: one HTML file that opens from disk and asks for nothing, and its data as JSON.

`evaluation_report` collects, `numbers` is all that is shown as plain data, `gallery` the images; `page` and `sections`
make HTML of them with the charts of `svg`, and the two scripts draw the outlines over the images and filter them.
`comparison` holds several of these files of data against each other.
"""

from __future__ import annotations

from mrcnn.report.comparison import compare_reports
from mrcnn.report.evaluation_report import DATA_FILE, PAGE_FILE, EvaluationReport

__all__ = ["DATA_FILE", "PAGE_FILE", "EvaluationReport", "compare_reports"]
