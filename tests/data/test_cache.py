from __future__ import annotations

from mrcnn.data.cache import ByteCache


def test_cache_keeps_the_last_used_within_its_size() -> None:
    cache = ByteCache(100)
    for key in "abc":
        cache.put(key, key.upper(), 40)
    assert cache.get("a") is None
    assert cache.get("b") == "B"
    cache.put("d", "D", 40)
    assert cache.get("c") is None
    cache.put("big", 1, 101)
    assert cache.get("big") is None
    assert cache.num_bytes == 80
