"""What is not a fitting library is never loaded: the reason is said once, and RoIAlign goes on without it."""

import dataclasses
import hashlib
import json
import logging
import os

import numpy as np
import pytest

from mrcnn import doctor
from mrcnn.native import build, loading, sources, stamp, toolchain
from mrcnn.ops.deformable_conv import deformable_conv2d
from mrcnn.ops.roi_align import roi_align

BOXES = np.array([[[0.0, 0, 8, 8]]], np.float32)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Where the library would lie, in a cache of its own; nothing is loaded yet and nobody was warned."""
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv(loading.VARIABLE, raising=False)
    monkeypatch.setattr(loading, "_state", None)
    monkeypatch.setattr(loading, "_warned", False)
    path = sources.library_path()
    path.parent.mkdir()
    return path


def stamped(path, code=b"no code at all", **changes):
    identity = dataclasses.replace(sources.current_identity(), **changes)
    path.write_bytes(code)
    stamp.append_stamp(path, stamp.Stamp(identity, "", (), "a compiler"))
    return path


def assert_falls_back(caplog, *words):
    """The pure path's numbers, and one warning with these words however often it is used."""
    with caplog.at_level(logging.WARNING, "mrcnn"):
        for _ in range(3):
            pooled = roi_align(np.ones((1, 4, 4, 2), np.float32), BOXES, 4, 2)
    np.testing.assert_array_equal(pooled, np.ones((1, 1, 2, 2, 2)))
    (record,) = caplog.records
    for word in (*words, "mrcnn build-ops", "MRCNN_ROI_ALIGN=python"):
        assert word in record.getMessage()


def test_deformable_convolution_falls_back_too(library, caplog):
    with caplog.at_level(logging.WARNING, "mrcnn"):
        ones = [np.ones(shape, np.float32) for shape in ((1, 2, 2, 1), (1, 2, 2, 2), (1, 1, 1, 1))]
        outputs = deformable_conv2d(ones[0], 0 * ones[1], ones[2])
    np.testing.assert_array_equal(outputs, np.ones((1, 2, 2, 1)))
    (record,) = caplog.records
    assert record.getMessage().startswith("Deformable convolution runs in pure TensorFlow")


def test_not_built(library, caplog):
    assert_falls_back(caplog, "the op is not built", str(library))


def test_no_cache_folder(library, caplog, monkeypatch):
    monkeypatch.setenv("MRCNN_CACHE_DIR", "/nonexistent/folder")
    assert_falls_back(caplog, "the op is not built", "/nonexistent/folder")


def test_built_for_another_tensorflow_before_an_upgrade(library, caplog):
    other = stamped(library, tensorflow="2.18.0").rename(library.with_name("mrcnn_ops-tf2.18.0-abi1-x86_64-0.so"))
    assert_falls_back(caplog, str(other), "built for TensorFlow 2.18.0, here is")


@pytest.mark.parametrize(
    "change, word",
    [
        ({"tensorflow": "2.18.0"}, "TensorFlow 2.18.0"),
        ({"cxx_abi": 7}, "C++ ABI 7"),
        ({"machine": "abacus"}, "machine abacus"),
        ({"sources": "0" * 64}, "sources 000000000000"),
    ],
)
def test_stamp_that_belies_the_name(library, caplog, change, word):
    stamped(library, **change)
    assert_falls_back(caplog, f"built for {word}")


def test_empty_file(library, caplog):
    library.touch()
    assert_falls_back(caplog, "the file is empty")


def test_foreign_library(library, caplog):
    library.write_bytes(b"\x7fELF" + bytes(5000))
    assert_falls_back(caplog, "bears no stamp")


def test_library_cut_off(library, caplog):
    stamped(library, bytes(10_000))
    library.write_bytes(library.read_bytes()[:6000])
    assert_falls_back(caplog, "bears no stamp")


@pytest.mark.parametrize("position", [0, 5000, -60])
def test_one_changed_byte(library, caplog, position):
    content = bytearray(stamped(library, bytes(10_000)).read_bytes())
    content[position] ^= 1
    library.write_bytes(content)
    assert_falls_back(caplog, "damaged")


@pytest.mark.parametrize("text", [b"no JSON", b"[]", b"{}", json.dumps({"identity": {"tensorflow": "2"}}).encode()])
def test_stamp_without_sense(library, caplog, text):
    body = b"code" + text + len(text).to_bytes(4, "little")
    library.write_bytes(body + hashlib.sha256(body).digest() + stamp._MAGIC)
    assert_falls_back(caplog, "the stamp cannot be read")


def test_right_stamp_on_what_no_loader_takes(library, caplog):
    stamped(library)
    assert_falls_back(caplog, "cannot be loaded", str(library))


def test_folder_in_place_of_the_file(library, caplog):
    library.mkdir()
    assert_falls_back(caplog, "the op is not built")


def test_no_cuda_kernels_where_there_is_a_gpu(library, caplog, monkeypatch):
    stamped(library)
    monkeypatch.setattr(loading.tf.config, "get_visible_devices", lambda kind: ["a GPU"] if kind == "GPU" else [])
    assert_falls_back(caplog, "built without CUDA", "1 GPU")


def test_sources_missing(library, caplog, monkeypatch):
    monkeypatch.setattr(sources, "source_dir", lambda: None)
    assert_falls_back(caplog, "not part of this installation")


def test_python_is_silent(library, caplog, monkeypatch):
    monkeypatch.setenv(loading.VARIABLE, "python")
    roi_align(np.ones((1, 4, 4, 2), np.float32), BOXES, 4, 2)
    assert not caplog.records


def test_op_cannot_be_had(library, monkeypatch):
    monkeypatch.setenv(loading.VARIABLE, "op")
    with pytest.raises(RuntimeError, match=r"MRCNN_ROI_ALIGN=op, but the op is not built.*mrcnn build-ops"):
        roi_align(np.ones((1, 4, 4, 2), np.float32), BOXES, 4, 2)
    monkeypatch.delenv(loading.VARIABLE)
    with pytest.raises(RuntimeError, match="cannot be used: the op is not built"):
        roi_align(np.ones((1, 4, 4, 2), np.float32), BOXES, 4, 2, method="op")


def test_unknown_choice(library, monkeypatch):
    monkeypatch.setenv(loading.VARIABLE, "cuda")
    with pytest.raises(ValueError, match='MRCNN_ROI_ALIGN: expected "op" or "python", got \'cuda\''):
        roi_align(np.ones((1, 4, 4, 2), np.float32), BOXES, 4, 2)


def test_stamp_survives(tmp_path):
    stated = stamp.Stamp(stamp.Identity("2.21.0", 1, "x86_64", "abc"), "13.0", ("75", "90"), "g++ 12")
    path = tmp_path / "library.so"
    path.write_bytes(b"code")
    stamp.append_stamp(path, stated)
    assert stamp.read_stamp(path) == stated
    assert path.read_bytes().startswith(b"code")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MRCNN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sources.cache_dir() == tmp_path / "mrcnn" / "ops"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.cache_dir() == tmp_path / ".cache" / "mrcnn" / "ops"


# --- Building, with a compiler that only prints what the test gives it ---


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Makes $CXX a script; takes its lines."""

    def make(*lines):
        path = tmp_path / "fake-g++"
        path.write_text("\n".join(["#!/bin/sh", 'case "$1" in --version) echo fake 1.0; exit 0;; esac', *lines]))
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        return path

    return make


def test_failing_compiler_shows_its_last_lines(library, compiler, capsys):
    compiler("seq 1 100", "echo 'ops.cc:7: error: this is why' >&2", "exit 3")
    assert build.build_ops(cuda=False) == 1
    said = capsys.readouterr().err
    assert "compiling ops.cc failed with exit code 3" in said and "error: this is why" in said
    assert "fake-g++" in said and "-c" in said
    assert "    99\n" in said and "    50\n" not in said
    assert not list(library.parent.iterdir())


def test_compiler_that_dies(library, compiler):
    compiler("kill -SEGV $$")
    with pytest.raises(sources.BuildError, match=r"compiling ops\.cc failed with signal 11"):
        build.build(cuda=False, log=str)


def test_what_was_built_is_tried_before_it_is_kept(library, compiler):
    compiler('while [ $# -gt 1 ]; do if [ "$1" = -o ]; then echo nothing > "$2"; fi; shift; done')
    with pytest.raises(sources.BuildError, match="first use of the library failed"):
        build.build(cuda=False, log=str)
    assert not list(library.parent.iterdir())


def test_no_compiler(library, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(sources.BuildError, match="no C\\+\\+ compiler: install g\\+\\+"):
        build.build(log=str)


def test_no_nvcc(library, compiler, monkeypatch):
    compiler("exit 0")
    monkeypatch.setattr(toolchain, "find_nvcc", lambda: None)
    with pytest.raises(sources.BuildError, match="no nvcc"):
        build.build(cuda=True, log=str)


def test_cache_that_cannot_be_written(library, compiler, monkeypatch, tmp_path):
    compiler("exit 0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "file"))  # permissions would not stop an administrator
    with pytest.raises(
        sources.BuildError, match=r"file/ops cannot be written \(.*MRCNN_CACHE_DIR names another folder"
    ):
        build.build(cuda=False, log=str)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write anywhere")
def test_read_only_cache(library, compiler):
    compiler("exit 0")
    library.parent.chmod(0o555)
    with pytest.raises(sources.BuildError, match="cannot be written"):
        build.build(cuda=False, log=str)


def test_architectures(tmp_path, monkeypatch):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\nprintf 'compute_100\\ncompute_90\\ncompute_75\\ncompute_89\\n'\n")
    nvcc.chmod(0o755)
    monkeypatch.delenv("MRCNN_CUDA_ARCHS", raising=False)
    assert toolchain.choose_architectures(str(nvcc)) == ["75", "89", "90"]
    assert toolchain.cuda_flags(["75", "90"])[-2:] == ["-gencode", "arch=compute_90,code=compute_90"]
    monkeypatch.setenv("MRCNN_CUDA_ARCHS", "9.0, sm_75;100")
    assert toolchain.choose_architectures(str(nvcc)) == ["75", "90", "100"]
    monkeypatch.setenv("MRCNN_CUDA_ARCHS", "70")
    with pytest.raises(sources.BuildError, match=r"does not know 70; it knows 75, 89, 90, 100"):
        toolchain.choose_architectures(str(nvcc))


# --- mrcnn doctor ---


def test_doctor(library, capsys):
    doctor.print_report()
    report = capsys.readouterr().out
    for word in (
        "Python",
        "TensorFlow",
        "keras",
        "CUDA",
        "GPUs",
        "threads",
        "pure TensorFlow, because the op is not built",
    ):
        assert word in report


def test_doctor_says_what_is_forced(library, monkeypatch):
    monkeypatch.setenv(loading.VARIABLE, "python")
    assert "MRCNN_ROI_ALIGN=python" in doctor.diagnose()["RoIAlign"]
