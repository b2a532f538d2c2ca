"""What goes wrong while a weights file is read, told as one kind of error."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mrcnn.errors import MrcnnError
from mrcnn.weights.report import WeightsError


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file leads to into a WeightsError that names it and quotes the cause."""
    try:
        yield
    except WeightsError:
        raise
    except (pickle.UnpicklingError, EOFError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise WeightsError(f"{path}: truncated or damaged ({error})") from error
    except (MemoryError, RecursionError) as error:
        raise WeightsError(f"{path}: refused, it unpacks to an unreasonable size or depth") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MrcnnError as error:
        raise WeightsError(f"{path}: damaged ({error})") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged ({type(error).__name__}: {str(error)[:300]})") from error
