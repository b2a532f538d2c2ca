from __future__ import annotations

import pytest

from mrcnn import hardware


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "_gpu_with_bfloat16", lambda: "")
    for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def test_flags_are_read_from_the_kernels_list(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert hardware.cpu_flags(str(file)) == {"fpu", "avx2", "avx512_bf16"}
    assert hardware.cpu_flags(str(tmp_path / "none")) == frozenset()


@pytest.mark.parametrize(
    "flags, environment, expected",
    [
        ({"avx2"}, {}, ""),
        ({"avx2", "avx512f", "avx512_vnni"}, {}, ""),
        ({"avx512_bf16"}, {}, "avx512_bf16"),
        ({"avx512_bf16", "amx_bf16"}, {}, "amx_bf16"),
        ({"avx512_bf16", "amx_bf16"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "avx512_bf16"),
        ({"avx512_bf16"}, {"ONEDNN_MAX_CPU_ISA": "all"}, "avx512_bf16"),
        ({"avx512_bf16"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, ""),
        ({"avx512_bf16"}, {"TF_ENABLE_ONEDNN_OPTS": "0"}, ""),
    ],
)
def test_bfloat16_where_onednn_uses_instructions_for_it(no_gpu, monkeypatch, flags, environment, expected):
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hardware.bfloat16_instructions() == expected


def test_a_gpu_comes_first(monkeypatch):
    monkeypatch.setattr(hardware, "_gpu_with_bfloat16", lambda: "GPU of a kind")
    assert hardware.bfloat16_instructions() == "GPU of a kind"
