"""Run-length encodings of masks, COCO's: read, checked, written.

Runs of 0 and 1 in turn, down the columns, beginning with 0; compressed strings pack each run in groups of five bits,
from the fourth run on as the difference to the run two before.
"""

from __future__ import annotations

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import RLE


def decode_counts(counts: bytes | str | list[int] | tuple[int, ...] | np.ndarray) -> np.ndarray:
    """Run lengths i64[runs] from a compressed string or a plain list.

    Raises:
        DataError: the string is cut off or holds a character that no encoder writes, or a run is negative.
    """
    if isinstance(counts, (list, tuple, np.ndarray)):
        try:
            runs = np.asarray(counts)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"RLE counts: expected a list of integers ({error})") from error
        if runs.size and not (np.issubdtype(runs.dtype, np.integer) and runs.ndim == 1):
            raise DataError(f"RLE counts: expected integers, got {runs.dtype}{list(runs.shape)}")
        if runs.size and runs.max() > np.iinfo(np.int64).max:
            raise DataError("RLE counts: a run is longer than any image")
        runs = runs.astype(np.int64).reshape(-1)
    else:
        if isinstance(counts, str):
            try:
                counts = counts.encode("ascii")
            except UnicodeEncodeError as error:
                raise DataError("RLE counts: not an ASCII string") from error
        codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
        if codes.size and (codes.min() < 0 or codes.max() > 63):
            raise DataError("RLE counts: the string holds characters outside the encoding")
        if not codes.size:
            return codes
        last = (codes & 32) == 0  # bit 5: more groups follow
        if not last[-1]:
            raise DataError("RLE counts: the string is cut off")
        ends = np.flatnonzero(last)
        starts = np.concatenate([[0], ends[:-1] + 1])
        if (ends - starts).max() > 11:
            raise DataError("RLE counts: a run is longer than any image")
        place = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
        values = np.add.reduceat((codes & 31) << (5 * place), starts)
        negative = (codes[ends] & 16) != 0  # the top bit of the last group is the sign
        values = np.where(negative, values - (np.int64(1) << (5 * (ends - starts + 1))), values)
        # Runs 0, 1 and 2 are plain; run i > 2 adds run i - 2: two interleaved sums, of which run 0 is in neither.
        runs = values.copy()
        runs[1::2] = np.cumsum(values[1::2])
        runs[2::2] = np.cumsum(values[2::2])
    if runs.size and runs.min() < 0:
        raise DataError("RLE counts: a run is negative")
    return runs


def check_rle(rle: RLE, height: int, width: int) -> np.ndarray:
    """Run lengths of an RLE, after checking that they fill an image of the given size.

    Raises:
        DataError: "size" or "counts" is missing, or belongs to an image of another size.
    """
    size = rle_size(rle)
    if size != (height, width):
        raise DataError(f"RLE of size {list(size)}, expected [{height}, {width}], the size of its image")
    if not isinstance(rle["counts"], (str, bytes, list, tuple, np.ndarray)):
        raise DataError(f"RLE counts: expected a string or a list, got {type(rle['counts']).__name__}")
    runs = decode_counts(rle["counts"])
    total = runs.sum() if runs.max(initial=0) <= height * width else runs.max()  # else the sum may overflow
    if total != height * width:
        raise DataError(f"RLE whose runs sum to {total}, expected {height} x {width} = {height * width}")
    return runs


def rle_size(rle: RLE) -> tuple[int, int]:
    """(height, width) that an RLE states.

    Raises:
        DataError: it states none.
    """
    if "size" not in rle or "counts" not in rle:
        raise DataError(f'RLE: expected "size" and "counts", got {", ".join(map(repr, rle)) or "nothing"}')
    try:
        height, width = (int(v) for v in rle["size"])
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"RLE size: expected [height, width], got {rle['size']!r}") from error
    if height < 0 or width < 0:
        raise DataError(f"RLE size: expected [height, width], got {[height, width]}")
    return height, width


def rle_box(rle: RLE, height: int, width: int) -> tuple[float, float, float, float] | None:
    """(y1, x1, y2, x2) of the smallest box around the pixels of an RLE, without unrolling it; None if it has none.

    Raises:
        DataError: see `check_rle`.
    """
    runs = check_rle(rle, height, width)
    ends = np.cumsum(runs)
    ones = np.flatnonzero(runs[1::2]) * 2 + 1
    if not ones.size:
        return None
    starts, last = (ends - runs)[ones], ends[ones] - 1
    left, right = int(starts[0]) // height, int(last[-1]) // height + 1
    if (starts // height != last // height).any():  # a run that continues in the next column
        return 0.0, float(left), float(height), float(right)
    return float((starts % height).min()), float(left), float((last % height).max()) + 1, float(right)


def mask_to_rle(mask: np.ndarray) -> RLE:
    """Compressed RLE of a mask bool[height, width]; "counts" is a str, ready for JSON.

    Example:
        >>> decode_counts(mask_to_rle(np.eye(3, dtype=bool))["counts"]).tolist()
        [0, 1, 3, 1, 3, 1]
    """
    return window_to_rle(0, 0, np.asarray(mask, bool), *mask.shape)


def window_to_rle(top: int, left: int, bits: np.ndarray, height: int, width: int) -> RLE:
    """Compressed RLE of a mask that is empty outside a window, as `mask_to_rle` gives it of the whole mask.

    Only the rows and columns that hold the object are scanned: of an image with a hundred small objects nearly all
    pixels are zero, and pycocotools would read each of them a hundred times in column order.

    Args:
        top, left: first row and column of the window.
        bits: bool[h, w], the mask inside it.
        height, width: of the image.
    """
    from pycocotools import mask as coco_mask

    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    counts = [height * width]
    if len(rows):
        y, x = rows[0], columns[0]
        object_bits = bits[y : rows[-1] + 1, x : columns[-1] + 1]
        padded = np.zeros((object_bits.shape[1], object_bits.shape[0] + 2), np.int8)  # [columns, rows + 2]
        padded[:, 1:-1] = object_bits.T
        step = np.diff(padded, axis=1)  # +1 where a run begins, -1 just after it ends
        begin_column, begin_row = np.nonzero(step == 1)
        end_column, end_row = np.nonzero(step == -1)
        begin = (begin_column + left + x) * height + begin_row + top + y
        end = (end_column + left + x) * height + end_row + top + y
        apart = begin[1:] != end[:-1]  # a run down to the last row goes on in the next column
        begin, end = begin[np.r_[True, apart]], end[np.r_[apart, True]]
        edges = np.concatenate([[0], np.stack([begin, end], 1).ravel(), [height * width]])
        counts = np.diff(edges).tolist()
        if counts[-1] == 0:
            counts.pop()
    return text_counts(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width))


def text_counts(rle: RLE) -> RLE:
    """An RLE of pycocotools with counts that JSON can hold."""
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def encode_masks(instances: Instances) -> list[RLE]:
    """The masks of instances as compressed RLE, one by one from the windows of their boxes; none is pasted whole.

    Returns:
        {"size": [height, width], "counts": str} each. Empty, or without masks: [].
    """
    return [window_to_rle(*window, *instances.image_shape) for window in instances.mask_windows()]
