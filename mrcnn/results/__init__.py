"""Formats of results: one file each, found by being here; see `structures.result_format`."""
