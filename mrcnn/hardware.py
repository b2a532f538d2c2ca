"""What the processors of this machine compute in."""

from __future__ import annotations

import functools
import os

_CPU = {"avx512_bf16": "AVX512_CORE_BF16", "amx_bf16": "AVX512_CORE_AMX"}
"""Flag of the kernel -> the lowest setting of oneDNN's ONEDNN_MAX_CPU_ISA that lets it be used."""
_LIMITS = ("AVX512_CORE_BF16", "AVX10_1_512", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16", "DEFAULT")
"""Settings of ONEDNN_MAX_CPU_ISA, or ALL in place of DEFAULT, with which oneDNN uses bfloat16 instructions."""
_AMPERE = 8  # compute capability of the first GPUs whose tensor cores take bfloat16


def bfloat16_instructions() -> str:
    """What computes in bfloat16 faster than in float32 here: a GPU, instructions of the CPU; "" where nothing does.

    Other machines compute in bfloat16 as well, by conversions, and are slower at it than in float32.

    Example:
        >>> bfloat16_instructions() in ("", "avx512_bf16", "amx_bf16") or bfloat16_instructions().startswith("GPU")
        True
    """
    return _gpu_with_bfloat16() or _cpu_with_bfloat16()


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Instruction sets of the CPU, by the names that Linux has for them; empty on other systems."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def _cpu_with_bfloat16() -> str:
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") == "0":
        return ""  # TensorFlow's own kernels convert
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper().replace("ALL", "DEFAULT")
    if limit not in _LIMITS:
        return ""
    usable = [flag for flag, least in _CPU.items() if _LIMITS.index(limit) >= _LIMITS.index(least)]
    flags = cpu_flags()
    return next((flag for flag in reversed(usable) if flag in flags), "")


@functools.cache
def _gpu_with_bfloat16() -> str:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0))[0] >= _AMPERE:
            return f"GPU {details.get('device_name', gpu.name)}"
    return ""
