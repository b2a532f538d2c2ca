"""Files that PyTorch writes, where it is installed; files of our own writers are read in every test run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn.weights.open_file import read_arrays
from tests.reference.containers import write_torch_legacy, write_torch_zip

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_reads_what_torch_saves(tmp_path: Path, zipped: bool, wrapped: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "conv.weight": torch.randn(8, 4, 3, 3, generator=generator),
        "conv.turned": torch.randn(4, 6, generator=generator).t(),  # not contiguous
        "norm.half": torch.randn(5, generator=generator).half(),
        "norm.brain": torch.randn(5, generator=generator).bfloat16(),
        "norm.count": torch.tensor(7),
        "part": torch.randn(10, generator=generator)[3:7],  # a view into a larger storage
    }
    path = tmp_path / "weights.pth"
    torch.save({"model": state} if wrapped else state, path, _use_new_zipfile_serialization=zipped)
    arrays = read_arrays(path).arrays
    assert set(arrays) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(np.asarray(arrays[name], np.float64), tensor.double().numpy(), err_msg=name)


@pytest.mark.parametrize("write", [write_torch_zip, write_torch_legacy])
def test_torch_reads_what_our_writers_write(tmp_path: Path, write) -> None:
    state = {"a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "count": np.array(7)}
    write(tmp_path / "weights.pth", state)
    result = torch.load(tmp_path / "weights.pth", weights_only=True)
    for name, array in state.items():
        np.testing.assert_array_equal(result[name].numpy(), array)
