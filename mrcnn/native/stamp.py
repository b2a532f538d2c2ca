"""What a compiled library was built for, written into the file itself, after the code, with a checksum over all of it.

`read_stamp` tells a whole library from anything else before the system's loader, which may crash on half of one, sees
it. Standard library only, so that setup.py can use it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from mrcnn.errors import MrcnnError

_MAGIC = b"MRCNNOP1"
_DIGEST_SIZE = hashlib.sha256().digest_size


class StampError(MrcnnError, ValueError):
    """A file is not a whole library with a stamp; the message says what it is instead."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a library must have been built for to be loaded here."""

    tensorflow: str  # version
    cxx_abi: int  # _GLIBCXX_USE_CXX11_ABI
    machine: str  # as platform.machine() says
    sources: str  # digest of the C++ and CUDA sources

    @property
    def filename(self) -> str:
        return f"mrcnn_ops-tf{self.tensorflow}-abi{self.cxx_abi}-{self.machine}-{self.sources[:12]}.so"


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What a library says of itself."""

    identity: Identity
    cuda: str  # version of nvcc, or "": no CUDA kernels
    cuda_architectures: tuple[str, ...]
    compiler: str


def append_stamp(library: Path, stamp: Stamp) -> None:
    """Writes the stamp and the checksum behind the code."""
    text = json.dumps(dataclasses.asdict(stamp)).encode()
    content = library.read_bytes() + text + len(text).to_bytes(4, "little")
    library.write_bytes(content + hashlib.sha256(content).digest() + _MAGIC)


def read_stamp(library: Path) -> Stamp:
    """What a library was built for. Does not load it.

    Raises:
        StampError: the file was not built by `build`, or is cut off or changed.
        OSError: it cannot be read.
    """
    content = library.read_bytes()
    if not content:
        raise StampError("the file is empty")
    if not content.endswith(_MAGIC):
        raise StampError("the file bears no stamp: it was not written by `mrcnn build-ops`, or its end is missing")
    body, digest = content[: -len(_MAGIC) - _DIGEST_SIZE], content[-len(_MAGIC) - _DIGEST_SIZE : -len(_MAGIC)]
    if hashlib.sha256(body).digest() != digest:
        raise StampError("the file is damaged: its checksum does not fit its content")
    size = int.from_bytes(body[-4:], "little")
    try:
        fields = json.loads(body[-4 - size : -4])
        identity = Identity(**fields.pop("identity"))
        return Stamp(identity, fields["cuda"], tuple(fields["cuda_architectures"]), fields["compiler"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StampError(f"the stamp cannot be read ({error})") from None
