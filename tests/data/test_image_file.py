from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data import image_file
from mrcnn.data.errors import DataError
from mrcnn.data.image_file import image_suffixes
from mrcnn.data.images import as_rgb, image_shape, read_image
from mrcnn.drawing import draw_array, draw_boxes
from mrcnn.structures.instances import Instances

SMOOTH = np.stack(np.broadcast_arrays(*np.mgrid[:24:1, :32:1], 90), axis=-1).astype(np.uint8)


def test_every_suffix_of_the_list_is_read(tmp_path: Path) -> None:
    suffixes = image_suffixes()
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".tga"} <= set(suffixes)
    assert list(suffixes) == sorted(s.lower() for s in suffixes)
    for suffix in suffixes:
        path = tmp_path / f"image{suffix}"
        if suffix in (".heic", ".heif", ".hif", ".avifs"):
            continue  # nothing here writes them
        image = Image.fromarray(SMOOTH)
        image = image.convert("L").convert("1") if suffix == ".pbm" else image
        image = image.convert("L") if suffix == ".pgm" else image
        image.save(path)
        assert read_image(path).shape == (24, 32, 3), suffix
        assert image_shape(path) == (24, 32)


def test_formats_that_pillow_was_built_without_are_not_listed(monkeypatch) -> None:
    missing = {"webp", "avif", "jpg_2000"}
    monkeypatch.setattr(image_file.features, "check", lambda name: name not in missing)
    image_file._factory.cache_clear()
    image_suffixes.cache_clear()
    try:
        assert {".webp", ".avif", ".jp2"}.isdisjoint(image_suffixes())
        assert ".jpg" in image_suffixes()
    finally:
        monkeypatch.undo()
        image_file._factory.cache_clear()
        image_suffixes.cache_clear()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
PROGRAMS = {
    "eps": POSTSCRIPT,
    "dos_eps": b"\xc5\xd0\xd3\xc6" + b"\x20\0\0\0" + len(POSTSCRIPT).to_bytes(4, "little") + b"\0" * 20 + POSTSCRIPT,
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + b"\0\0\0\0\x64\0\x64\0" + b"\x60\0" + b"\0" * 6 + b"\x01\0\x09\0" + b"\0" * 60,
    "psd": b"8BPS\0\1" + b"\0" * 6 + b"\0\3\0\0\0\4\0\0\0\4\0\x08\0\3" + b"\0" * 60,
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 60,
    "grib": b"GRIB\0\0\0\1" + b"\0" * 60,
    "fits": b"SIMPLE  =                    T" + b" " * 100,
    "mpeg": b"\0\0\1\xb3\x14\0\xf0" + b"\0" * 60,
    "xpm": b"/* XPM */\nstatic char *x[] = {\n",
    "pdf": b"%PDF-1.4\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
}


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch) -> Path:
    """A search path on which every program that an image library might start leaves a trace instead."""
    programs, trace = tmp_path / "bin", tmp_path / "started"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c", "djpeg", "convert", "magick", "rsvg-convert"):
        program = programs / name
        program.write_text(f"#!/bin/sh\necho {name} >> {trace}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return trace


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".eps", ".ps", ".tga"])
@pytest.mark.parametrize("kind", list(PROGRAMS))
def test_only_raster_formats_are_opened_whatever_the_name(tmp_path: Path, no_programs, kind: str, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(PROGRAMS[kind])
    for read in (read_image, image_shape, as_rgb):
        with pytest.raises(DataError, match=rf"photo{suffix}: not an image in a known format"):
            read(path)
    for draw in (lambda p: draw_array(p, Instances.empty((20, 20))), lambda p: draw_boxes(p, np.zeros((0, 4)))):
        with pytest.raises(DataError, match="not an image"):
            draw(str(path))
    assert not no_programs.exists()


def test_programs_named_as_images_in_a_data_set(tmp_path: Path, no_programs) -> None:
    (tmp_path / "a.png").write_bytes(POSTSCRIPT)
    via = tmp_path / "via.json"
    via.write_text('{"a": {"filename": "a.png", "regions": []}}')
    with pytest.raises(DataError, match=r"a\.png: not an image"):
        mrcnn.load_via(via)
    dataset = mrcnn.Dataset()
    dataset.add_image("mine", 0, tmp_path / "a.png")
    assert [issue.kind for issue in dataset.validate(pixels=True)] == ["image"]
    assert not no_programs.exists()


def test_heic_without_a_decoder_says_what_to_install(tmp_path: Path) -> None:
    if image_file._heif() is not None:
        pytest.skip("pillow-heif is installed")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    with pytest.raises(DataError, match=r"phone\.heic: a HEIC image.*pip install pillow-heif"):
        read_image(tmp_path / "phone.heic")
