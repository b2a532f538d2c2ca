"""Weights on the Hugging Face Hub: what `hf://user/repo[@revision][/file]` stands for.

`huggingface_hub` knows the site, its tokens and its answers; the bytes are fetched as those of any other address, by
`weights.download`: resumed, compared with the SHA-256 that the Hub states, kept in the same cache. (Its own downloads
start anew after a break and are not compared.) What an address stood for when it was first used is remembered, so that
a second load needs no request and a branch that moves on does not change results unasked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from mrcnn.files import atomic_write
from mrcnn.text import file_stem, printable
from mrcnn.weights.fetch import DownloadError, expect_allowed
from mrcnn.weights.zoo import Checksum, ZooEntry

_log = logging.getLogger(__name__)

INSTALL = "hf:// needs huggingface_hub: pip install 'mrcnn-keras[hf]'"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_ADDRESS = re.compile(rf"hf:/+({_PART}/{_PART})(?:@([^/\s]+))?(?:/([^\s@]+))?/?")  # a `Path` holds one slash of the two
_PREFERRED = ("model.safetensors", "best.safetensors")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".pkl", ".h5")


@dataclasses.dataclass(frozen=True)
class HubAddress:
    """A place on the Hub.

    Attributes:
        repo: "user/repo".
        revision: a branch, a tag or a commit; None: the main branch.
        file: its path in the repository; None: the model file there, or the only file of weights.
    """

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{self.repo}{revision}" + ("" if self.file is None else f"/{self.file}")

    def includes(self, other: HubAddress) -> bool:
        """Whether another address is of the same repository, and of the same revision and file where this has one."""
        return self.repo == other.repo and all(
            mine in (None, theirs) for mine, theirs in ((self.revision, other.revision), (self.file, other.file))
        )


class Resolved(NamedTuple):
    """What an address stands for: a file of one commit, and the headers of a request for it."""

    entry: ZooEntry
    headers: dict[str, str]


def is_hub_address(text: str) -> bool:
    """Whether a text is meant for the Hub."""
    return text.startswith("hf:/")


def parse_address(text: str) -> HubAddress:
    """The parts of `hf://user/repo[@revision][/file]`; a slash in a revision is written %2F.

    Raises:
        DownloadError: it has another form.

    Example:
        >>> parse_address("hf://lab/nuts@v1/best.safetensors")
        HubAddress(repo='lab/nuts', revision='v1', file='best.safetensors')
    """
    match = _ADDRESS.fullmatch(text)
    file = match[3] if match else None
    if match is None or (file is not None and {"", ".", ".."} & set(file.split("/"))):
        raise DownloadError(f"{printable(text)}: expected hf://user/repo, hf://user/repo@revision or .../file after it")
    return HubAddress(match[1], None if match[2] is None else unquote(match[2]), file)


def endpoint() -> str:
    """Where the Hub is: $HF_ENDPOINT, or its own address.

    Raises:
        DownloadError: it is not https (http on this machine alone).
    """
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    expect_allowed(address, address)
    return address


def resolve(address: HubAddress, folder: Path, *, offline: bool, refresh: bool) -> Resolved:
    """The file that an address stands for.

    Args:
        address: the place.
        folder: where is kept what addresses stood for.
        offline: ask nobody.
        refresh: ask the Hub even where it is known; if it does not answer, what is known is taken, with a warning.

    Raises:
        DownloadError: the Hub has no such repository, revision or file, or wants a login; it does not answer;
            huggingface_hub is not installed; or `offline` and the address was never used.
    """
    endpoint()  # refused before anything is asked or read
    known = _remembered(address, folder)
    if known is not None and (offline or not refresh):
        return Resolved(known, _authorization())
    if offline:
        raise DownloadError(
            f"{address} is not in the cache and MRCNN_OFFLINE is set: load it once where there is a network, with the"
            " same MRCNN_CACHE_DIR, or give the path of its file"
        )
    try:
        entry = _ask(address)
    except _NoAnswerError as error:
        if known is None:
            raise
        _log.warning("%s; what it stood for before is used", error)
        return Resolved(known, _authorization())
    with atomic_write(_record_of(address, folder)) as temporary:
        content = {"address": str(address), "name": entry.name, "url": entry.url, "size": entry.size}
        checksum = None if entry.checksum is None else entry.checksum.prefix
        content |= {"sha256": checksum, "license": entry.license}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return Resolved(entry, _authorization())


def forget(address: HubAddress, folder: Path) -> set[str]:
    """Remove what is remembered of an address, and of those that it includes.

    Returns:
        The addresses of the files that they stood for.
    """
    urls = set()
    for path in sorted((folder / "hub").glob("*.resolved")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = parse_address(content["address"])
        except (OSError, ValueError, KeyError, TypeError):  # half of a record says nothing
            continue
        if address.includes(known):
            urls.add(str(content.get("url")))
            path.unlink(missing_ok=True)
    return urls


class _NoAnswerError(DownloadError):
    """The Hub could not be reached, or failed."""


def hub_api() -> Any:
    """The client of the Hub.

    Raises:
        DownloadError: huggingface_hub is not installed; says how to install it.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise DownloadError(INSTALL) from error
    return huggingface_hub.HfApi(endpoint=endpoint(), library_name="mrcnn-keras")


def explained(error: Exception, address: HubAddress) -> DownloadError:
    """An error of huggingface_hub in one line.

    Raises:
        Exception: the error itself, if it is of the program.
    """
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return explained(error.__cause__, address)  # of the thread that uploads
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(f"{address}: its owner lets in those who asked: do so at {endpoint()}/{address.repo}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(f"{address}: no such repository, or a private one: set HF_TOKEN, or `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return DownloadError(f"{address}: the repository has no revision {printable(address.revision)!r}")
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            return DownloadError(f"{address}: the Hub refuses this ({status}): set HF_TOKEN, or `hf auth login`")
        return _NoAnswerError(f"{address}: the Hub answered {printable(str(error).splitlines()[0])}")
    # The base of the errors of connections, of whichever HTTP library this version of huggingface_hub uses.
    if isinstance(error, (*errors.HfHubHTTPError.__bases__, OSError)):
        return _NoAnswerError(
            f"{address}: {endpoint()} does not answer: {printable(str(error) or type(error).__name__)}"
        )
    if isinstance(error, errors.HFValidationError):
        return DownloadError(f"{address}: {printable(error)}")
    raise error


def _ask(address: HubAddress) -> ZooEntry:
    api = hub_api()
    from huggingface_hub import hf_hub_url

    try:
        info = api.model_info(address.repo, revision=address.revision, files_metadata=True, timeout=30)
    except Exception as error:
        raise explained(error, address) from error
    files = {file.rfilename: file for file in info.siblings or ()}
    name = address.file or _choose(list(files), address)
    if name not in files:
        raise DownloadError(f"{address}: no such file; it has {_some(list(files))}")
    file = files[name]
    stated = getattr(file.lfs, "sha256", None) if file.lfs is not None else None
    license_text = str(getattr(info.card_data, "license", None) or "")
    return ZooEntry(
        name=f"hf://{address.repo}@{str(info.sha)[:12]}/{name}",
        family="",
        url=hf_hub_url(address.repo, name, revision=info.sha, endpoint=endpoint()),
        license=license_text,
        checksum=None if stated is None else Checksum("sha256", stated),
        size=file.size or None,
    )


def _choose(files: Sequence[str], address: HubAddress) -> str:
    for name in _PREFERRED:
        if name in files:
            return name
    weights = [name for name in files if name.endswith(_SUFFIXES)]
    if len(weights) == 1:
        return weights[0]
    if not weights:
        raise DownloadError(f"{address}: no file of weights ({', '.join(_SUFFIXES)}); it has {_some(files)}")
    raise DownloadError(f"{address}: which file? Write one after it: {_some(weights)}")


def _some(files: Sequence[str]) -> str:
    more = f", ... ({len(files)} in all)" if len(files) > 5 else ""
    return (", ".join(printable(name) for name in sorted(files)[:5]) or "no files") + more


def _authorization() -> dict[str, str]:
    """The user's token, as huggingface_hub finds it; nothing without that package, for what is public needs none."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return {}
    token = get_token()
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _record_of(address: HubAddress, folder: Path) -> Path:
    digest = hashlib.sha256(f"{endpoint()} {address}".encode()).hexdigest()[:12]
    return folder / "hub" / f"{file_stem(address.repo, 80)}-{digest}.resolved"


def _remembered(address: HubAddress, folder: Path) -> ZooEntry | None:
    try:
        content = json.loads(_record_of(address, folder).read_text(encoding="utf-8"))
        stated = content["sha256"]
        return ZooEntry(
            name=str(content["name"]),
            family="",
            url=str(content["url"]),
            license=str(content["license"]),
            checksum=None if stated is None else Checksum("sha256", str(stated)),
            size=content["size"] if isinstance(content["size"], int) else None,
        )
    except (OSError, ValueError, KeyError, TypeError):  # never asked, or half of a record: the Hub is asked
        return None
