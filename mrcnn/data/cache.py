"""A cache of decoded images and masks, bounded by the bytes they take."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any


class ByteCache:
    """The values used last whose arrays fit into a number of bytes together; safe between threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._items: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any | None:
        """The value kept under `key`, or None."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: Any, value: Any, num_bytes: int) -> None:
        """Keep a value of the given size, dropping those unused longest; one that is too large is not kept."""
        if num_bytes > self.max_bytes:
            return
        with self._lock:
            if key in self._items:
                self.num_bytes -= self._items.pop(key)[1]
            self._items[key] = (value, num_bytes)
            self.num_bytes += num_bytes
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= self._items.popitem(last=False)[1][1]
