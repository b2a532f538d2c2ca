"""What one browser is working on: an image, its place in the folder, and the corrections of images seen before.

Each action gives a new `Session`; nothing is shared between two browsers but the model and the files.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mrcnn.app.detector import Detector, Mode
from mrcnn.app.uploads import read_upload, shown_name
from mrcnn.app.view import START, Edits, View
from mrcnn.errors import MrcnnError

_Key = tuple[int, Mode]


@dataclasses.dataclass(frozen=True, eq=False)
class Session:
    """The state of one browser.

    Attributes:
        view: the image shown; None before the first.
        place: in the folder, from 0, where the next step begins; that of `view`, or of a file after it that could not
            be read. None: the image was uploaded.
        mode: how images are looked at.
        kept: corrections of the images of the folder, by place and mode, those shown now not included.
        message: one sentence for the person, such as why a file was refused.
    """

    view: View | None = None
    place: int | None = None
    mode: Mode = "once"
    kept: Mapping[_Key, Edits] = dataclasses.field(default_factory=dict)
    message: str = ""


class Actions:
    """What a person can do that runs the model; each gives the next session.

    An image that cannot be used leaves the one before, with a message.

    Args:
        detector: runs the model.
        files: of the folder that can be stepped through.
    """

    def __init__(self, detector: Detector, files: Sequence[Path] = ()) -> None:
        self.detector, self.files = detector, tuple(files)

    def upload(self, session: Session, path: str | os.PathLike[str], name: object = None) -> Session:
        """Open an uploaded file."""
        return self._opened(session, path, shown_name(path if name is None else name), None)

    def step(self, session: Session, by: int) -> Session:
        """Go on in the folder; its last image is followed by the first."""
        if not self.files:
            return dataclasses.replace(session, message="there is no folder to step through; pass --data DIR")
        before = session.place if session.place is not None else (-1 if by > 0 else 0)
        return self.go_to(session, (before + by) % len(self.files))

    def go_to(self, session: Session, place: int) -> Session:
        """Open the image at a place of the folder, from 0; places beyond its ends are its ends."""
        place = min(max(place, 0), len(self.files) - 1)
        return self._opened(session, self.files[place], shown_name(self.files[place].name), place)

    def look(self, session: Session, mode: Mode) -> Session:
        """Look at the same image in another way."""
        changed = dataclasses.replace(session, mode=mode, kept=_kept(session), message="")
        if session.view is None or mode == session.mode:
            return changed
        return self._detected(session, changed, session.view.name, session.view.pixels, session.view.place)

    def _opened(self, session: Session, path: str | os.PathLike[str], name: str, place: int | None) -> Session:
        try:
            pixels = read_upload(path, name)
        except MrcnnError as error:
            # A folder's image that cannot be read is a place to step on from; the image before stays on the page.
            at = session.place if place is None else place
            return dataclasses.replace(session, message=_sentence(error), place=at, kept=_kept(session))
        return self._detected(session, dataclasses.replace(session, kept=_kept(session)), name, pixels, place)

    def _detected(self, before: Session, session: Session, name: str, pixels: np.ndarray, place: int | None) -> Session:
        """The session with what the model finds; that of before, with a message, where it cannot be run so."""
        try:
            instances, seconds = self.detector(pixels, session.mode)
        except MrcnnError as error:
            return dataclasses.replace(before, message=_sentence(error))
        edits = Edits() if place is None else session.kept.get((place, session.mode), Edits()).below(len(instances))
        threshold, hidden = (
            (START, frozenset[int]())
            if before.view is None
            else (
                before.view.threshold,
                before.view.hidden,
            )
        )
        view = View(name, pixels, instances, seconds, place, edits, threshold, hidden)
        return dataclasses.replace(session, view=view, place=place, message="")


def _kept(session: Session) -> Mapping[_Key, Edits]:
    """The corrections of the folder's images, those of the image shown included."""
    if session.view is None or session.view.place is None:
        return session.kept
    key = (session.view.place, session.mode)
    others = {k: edits for k, edits in session.kept.items() if k != key}
    return {**others, key: session.view.edits} if len(session.view.edits) else others


def _sentence(error: MrcnnError) -> str:
    """The first line of an error, which is a sentence of its own."""
    return str(error).splitlines()[0]
