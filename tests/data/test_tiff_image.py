from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.images import read_image
from tests.data.image_files import COLOR, save, write_tiff


@pytest.mark.parametrize("dtype, white", [(np.uint8, 0), (np.uint16, 0), (np.float32, 0)])
def test_a_tiff_whose_white_is_zero(tmp_path: Path, dtype: type, white: int) -> None:
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    write_tiff(tmp_path / "w.tif", np.array([[[white], [top]]], dtype), photometric=0)
    in_range = (0, 1) if dtype is np.float32 else "dtype"
    assert read_image(tmp_path / "w.tif", in_range=in_range)[0, :, 0].tolist() == [255, 0]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.tif", compression="group4")
    assert read_image(tmp_path / "bits.tif")[0, :, 0].tolist() == [255, 0]


def test_negative_and_floating_point_values_need_a_range(tmp_path: Path) -> None:
    write_tiff(tmp_path / "i.tif", np.array([[[-100], [300]]], np.int16))
    with pytest.raises(DataError, match=r"i\.tif: values from -100 to 300; expected 0 to 65535, or .*in_range"):
        read_image(tmp_path / "i.tif")
    assert read_image(tmp_path / "i.tif", in_range="image")[0, :, 0].tolist() == [0, 255]
    write_tiff(tmp_path / "f.tif", np.array([[[0.0], [0.5], [np.nan], [np.inf]]], np.float32))
    with pytest.raises(DataError, match=r"f\.tif: floating-point image.*in_range"):
        read_image(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif", in_range=(0, 1))[0, :, 0].tolist() == [0, 128, 0, 255]
    assert read_image(tmp_path / "f.tif", in_range="image")[0, :, 0].tolist() == [0, 255, 0, 255]


def test_bands_are_named_and_chosen(tmp_path: Path, caplog) -> None:
    values = np.stack([np.full((3, 4), v, np.uint16) for v in (257 * 80, 257 * 90, 257 * 100, 257 * 110)], axis=-1)
    for planar in (1, 2):
        path = tmp_path / f"plain{planar}.tif"
        write_tiff(path, values, planar=planar)
        with caplog.at_level(logging.WARNING, "mrcnn"):
            assert read_image(path)[0, 0].tolist() == [80, 90, 100]
        assert f"{path.name}: has 4 bands, 1, 2, 3, 4; 1, 2 and 3 are read as red, green and blue" in caplog.text
        assert read_image(path, bands=(4, 3, 2))[0, 0].tolist() == [110, 100, 90]
        assert read_image(path, bands=(4,))[0, 0].tolist() == [110, 110, 110]
    items = b"".join(
        b'<Item name="DESCRIPTION" sample="%d" role="description">%s</Item>' % (i, name)
        for i, name in enumerate((b"Blue", b"Green", b"Red", b"NIR"))
    )
    caplog.clear()
    write_tiff(tmp_path / "named.tif", values, extra=b"<GDALMetadata>" + items + b"</GDALMetadata>")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert read_image(tmp_path / "named.tif")[0, 0].tolist() == [100, 90, 80]
    assert caplog.text == ""
    assert read_image(tmp_path / "named.tif", bands=("nir", "red", 2))[0, 0].tolist() == [110, 100, 90]
    with pytest.raises(DataError, match=r"named\.tif: no band 'swir'; there are Blue, Green, Red, NIR"):
        read_image(tmp_path / "named.tif", bands=("swir",))
    with pytest.raises(DataError, match="no band 5"):
        read_image(tmp_path / "named.tif", bands=(1, 2, 5))
    assert read_image(save(tmp_path, COLOR), bands=(3, 2, 1))[0, 0].tolist() == COLOR[0, 0, ::-1].tolist()


def test_reduced_copies_are_no_pages(tmp_path: Path, caplog) -> None:
    whole, reduced = Image.new("L", (8, 6), 7), Image.new("L", (4, 3), 7)
    reduced.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(tmp_path / "p.tif", save_all=True, append_images=[reduced])
    with Image.open(tmp_path / "p.tif") as image:
        image.seek(1)
        assert image.tag_v2[254] == 1
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert read_image(tmp_path / "p.tif").shape == (6, 8, 3)
    assert caplog.text == ""
