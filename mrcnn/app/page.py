"""The page itself: gradio's components, and which action each of them starts. All that is computed lies elsewhere."""

from __future__ import annotations

import dataclasses
import html
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mrcnn.app.detector import LOWEST, MODES, Mode
from mrcnn.app.figure import LAYERS, draw_view, to_image
from mrcnn.app.saving import FORMATS, Format, save_view
from mrcnn.app.session import Actions, Session
from mrcnn.app.uploads import MAX_MEGABYTES
from mrcnn.app.view import START, Edits, View, class_counts, edited, filtered, numbers_of, pick, visible
from mrcnn.errors import MrcnnError
from mrcnn.text import printable

KEPT = 600
"""Seconds that files of the page, uploads and drawings, stay on the disk."""
LOOKS = {"once": "as a whole", "tiles": "in tiles", "augmented": "at several sizes, mirrored"}
PASTE = """<script>
document.addEventListener("paste", (event) => {
  const file = event.clipboardData && event.clipboardData.files[0];
  const input = document.querySelector("#drop input[type=file]");
  if (!file || !input) return;
  event.preventDefault();
  const files = new DataTransfer();
  files.items.add(file);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
</script>"""
"""An image in the clipboard becomes an upload, wherever on the page it is pasted."""
CSS = """
#drop .or { display: block; font-size: 0; }
#steps { align-items: end; }
#image img { width: auto; max-width: 100%; max-height: 78vh; margin: auto; }
#status { min-height: 1.6em; overflow-wrap: anywhere; }
#status .refused { color: #b3261e; font-weight: 600; }
#numbers table { width: 100%; } #numbers td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) { #status .refused { color: #ff8a80; } }
"""

Change = Callable[[View], View]


class Page:
    """The components, and what a browser is shown of its session.

    Args:
        gradio: the module, which is optional.
        actions: of the model.
        class_names, category_ids: of the classes 1..C.
        labels: folder that saved labels are written to.
    """

    def __init__(
        self,
        gradio: Any,
        actions: Actions,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None,
        labels: Path,
    ) -> None:
        self._gr, self._actions, self._labels = gradio, actions, labels
        self._class_names, self._category_ids = tuple(map(printable, class_names)), category_ids
        self._choices = [(name, number) for number, name in enumerate(self._class_names, start=1)]

    def build(self) -> Any:
        """A `gradio.Blocks` that is ready to be launched."""
        gr = self._gr
        with gr.Blocks(title="mrcnn", analytics_enabled=False, delete_cache=(60, KEPT)) as blocks:
            self._session = gr.State(Session())
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    self._lay_out_image()
                with gr.Column(scale=1, min_width=260):
                    self._lay_out_controls()
            self._connect(blocks)
        blocks.queue(default_concurrency_limit=4, max_size=64, api_open=False)
        return blocks

    def _lay_out_image(self) -> None:
        gr, count = self._gr, len(self._actions.files)
        self._drop = gr.File(label="An image: drop it, choose it or paste it", height=120, elem_id="drop")
        with gr.Row(visible=count > 0, elem_id="steps"):
            self._previous = gr.Button("Previous", elem_id="previous", min_width=80)
            self._place = gr.Number(
                None, label=f"Image 1 to {count}", precision=0, minimum=1, maximum=max(count, 1), min_width=80,
                elem_id="place",
            )  # fmt: skip
            self._next = gr.Button("Next", elem_id="next", min_width=80)
        self._status = gr.HTML(elem_id="status")
        self._image = gr.Image(
            label="Click an instance for its numbers", format="png", interactive=False, elem_id="image",
            buttons=["download", "fullscreen"], alt_text="the image with the instances drawn on it",
        )  # fmt: skip

    def _lay_out_controls(self) -> None:
        gr = self._gr
        self._threshold = gr.Slider(LOWEST, 1, START, step=0.01, label="Score from", elem_id="threshold")
        self._classes = gr.CheckboxGroup([], label="Classes", elem_id="classes")
        self._layers = gr.CheckboxGroup(list(LAYERS), value=list(LAYERS), label="Draw", elem_id="layers")
        looks = [(LOOKS[mode], mode) for mode in MODES]
        self._mode = gr.Radio(looks, value=MODES[0], label="Look at images", elem_id="mode")
        self._numbers = gr.HTML(elem_id="numbers")
        self._class = gr.Dropdown(self._choices, value=None, label="Its class", interactive=False, elem_id="class")
        with gr.Row():
            self._accept = gr.Button("Accept", elem_id="accept", min_width=70, interactive=False)
            self._delete = gr.Button("Delete", elem_id="delete", min_width=70, interactive=False)
            self._reset = gr.Button("Undo", elem_id="reset", min_width=70, interactive=False)
        self._accept_all = gr.Button("Accept all shown", elem_id="accept-all")
        self._format = gr.Radio(list(FORMATS), value=FORMATS[0], label="Labels as", elem_id="format")
        self._save = gr.Button("Save", variant="primary", elem_id="save")
        self._file = gr.File(label="Saved", interactive=False, visible=False, elem_id="file")

    def _connect(self, blocks: Any) -> None:
        """Which event starts which action; `input` events are those of people, not of what the page sets itself."""
        session, layers = self._session, self._layers
        self._outputs = [
            session, self._image, self._status, self._classes, self._numbers, self._class, self._place, self._mode,
            self._accept, self._delete, self._reset,
        ]  # fmt: skip
        once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
        last: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
        actions, gr = self._actions, self._gr

        self._on(self._drop.upload, lambda s, path: actions.upload(s, path), [self._drop], **once)
        # An empty field takes the next image; it is emptied after the upload, whatever became of that.
        self._drop.upload(lambda: None, None, self._drop, show_progress="hidden", api_visibility="private")
        self._on(self._previous.click, lambda s: actions.step(s, -1), **once)
        self._on(self._next.click, lambda s: actions.step(s, 1), **once)
        self._on(self._place.submit, lambda s, place: actions.go_to(s, int(place or 1) - 1), [self._place], **once)
        self._on(self._mode.input, lambda s, mode: actions.look(s, _mode(mode)), [self._mode], **once)
        self._on(self._threshold.input, self._filter, [self._threshold, self._classes], **last)
        self._on(self._classes.input, self._filter, [self._threshold, self._classes], **last)
        self._on(layers.input, lambda s: s, **last)
        self._on(self._class.input, self._with_class, [self._class])
        self._on(self._accept.click, lambda s: _on_selected(s, lambda edits, n: edits.with_accepted(n)))
        self._on(self._delete.click, lambda s: _on_selected(s, lambda edits, n: edits.with_deleted(n)))
        self._on(self._reset.click, lambda s: _on_selected(s, lambda edits, n: edits.without(n)))
        self._on(self._accept_all.click, lambda s: _on_view(s, _accept_all))
        if actions.files:
            self._on(blocks.load, lambda s: actions.go_to(s, 0) if s.view is None else s, **once)

        def select(state: Session, drawn: Sequence[str], event: Any) -> list[Any]:
            x, y = event.index
            return self._shown(_on_view(state, lambda view: _selected(view, float(x), float(y))), drawn)

        select.__annotations__["event"] = gr.SelectData  # by which gradio knows what to pass
        self._image.select(select, [session, layers], self._outputs, show_progress="hidden", api_visibility="private")
        self._save.click(self._saved, [session, self._format], [self._file, self._status], api_visibility="private")

    def _on(self, listen: Any, action: Callable[..., Session], inputs: Sequence[Any] = (), **options: Any) -> None:
        """Show what an action makes of the session when something happens."""

        def run(state: Session, drawn: Sequence[str], *values: Any) -> list[Any]:
            return self._shown(action(state, *values), drawn)

        listen(run, [self._session, self._layers, *inputs], self._outputs, api_visibility="private", **options)

    def _shown(self, state: Session, drawn: Sequence[str]) -> list[Any]:
        """The values of `_outputs`."""
        gr, view = self._gr, state.view
        place = None if state.place is None else state.place + 1
        if view is None:
            off = gr.update(interactive=False)
            return [state, None, _status(state), gr.update(), "", off, place, state.mode, off, off, off]
        counts = class_counts(view)
        present = sorted({*view.instances.class_ids.tolist(), *view.edits.classes.values()})
        names = [(f"{self._name(number)} ({counts.get(number, 0)})", number) for number in present]
        classes = gr.update(choices=names, value=[number for number in present if number not in view.hidden])
        on = gr.update(interactive=view.selected is not None)
        numbers = None if view.selected is None else numbers_of(view, view.selected)
        chosen = gr.update(value=None if numbers is None else numbers.class_id, interactive=numbers is not None)
        table = "" if numbers is None else _table(view.selected or 0, self._name(numbers.class_id), numbers)
        drawing = draw_view(view, self._class_names, drawn)
        return [state, drawing, _status(state), classes, table, chosen, place, state.mode, on, on, on]

    def _filter(self, state: Session, threshold: float, classes: Sequence[int]) -> Session:
        """Another threshold or other classes; those that this image does not have stay as they were."""

        def change(view: View) -> View:
            present = {*view.instances.class_ids.tolist(), *view.edits.classes.values()}
            hidden = (view.hidden - present) | (present - {int(number) for number in classes})
            return filtered(view, float(threshold), frozenset(hidden))

        return _on_view(state, change)

    def _with_class(self, state: Session, class_id: int | None) -> Session:
        if class_id is None or not 1 <= int(class_id) <= len(self._class_names):
            return state
        return _on_selected(state, lambda edits, number: edits.with_class(number, int(class_id)))

    def _saved(self, state: Session, format: Format) -> list[Any]:
        """The file of labels to download, and a line about it."""
        gr = self._gr
        if state.view is None or format not in FORMATS:
            return [gr.update(visible=False), _line("there is no image yet", refused=True)]
        _remove_old(self._labels)
        folder = Path(tempfile.mkdtemp(dir=self._labels))
        try:
            path = save_view(state.view, folder, format, self._class_names, self._category_ids)
        except MrcnnError as error:
            return [gr.update(visible=False), _line(str(error), refused=True)]
        count = len(visible(state.view))
        line = f"{path.name}: {count} instance{'s' * (count != 1)} as {format}"
        return [gr.update(value=str(path), visible=True), _line(line)]

    def _name(self, class_id: int) -> str:
        return self._class_names[class_id - 1] if 1 <= class_id <= len(self._class_names) else str(class_id)


def _mode(value: str) -> Mode:
    return next((mode for mode in MODES if mode == value), MODES[0])


def _on_view(state: Session, change: Change) -> Session:
    return state if state.view is None else dataclasses.replace(state, view=change(state.view), message="")


def _on_selected(state: Session, change: Callable[[Edits, int], Edits]) -> Session:
    """Corrections of the selected instance; none where there is none."""

    def apply(view: View) -> View:
        return view if view.selected is None else edited(view, change(view.edits, view.selected))

    return _on_view(state, apply)


def _accept_all(view: View) -> View:
    return edited(view, view.edits.with_accepted(*visible(view).tolist()))


def _selected(view: View, x: float, y: float) -> View:
    """The view with the instance at a point of its drawing selected."""
    return dataclasses.replace(view, selected=pick(view, *to_image(view, x, y)))


def _status(state: Session) -> str:
    view = state.view
    if state.message:
        return _line(state.message, refused=True)
    if view is None:
        return _line(f"No image yet; files of at most {MAX_MEGABYTES} MB are taken.")
    height, width = view.pixels.shape[:2]
    parts = [view.name, f"{width} x {height} pixels", f"{len(visible(view))} of {len(view.instances)} instances"]
    edits = view.edits
    parts += [f"{len(n)} {what}" for n, what in ((edits.accepted, "accepted"), (edits.deleted, "deleted")) if n]
    return _line(" · ".join([*parts, f"{view.seconds:.2f} s"]))


def _line(text: str, refused: bool = False) -> str:
    return f"<span{' class=refused' if refused else ''}>{html.escape(printable(text))}</span>"


def _table(number: int, name: str, numbers: Any) -> str:
    y1, x1, y2, x2 = numbers.box
    rows = {
        "instance": f"{number + 1}, {numbers.state}",
        "class": name,
        "score": f"{numbers.score:.3f}",
        "area": f"{numbers.area:.0f} px²",
        "x": f"{x1:.1f} to {x2:.1f}",
        "y": f"{y1:.1f} to {y2:.1f}",
    }
    cells = "".join(f"<tr><td>{key}</td><td>{html.escape(value)}</td></tr>" for key, value in rows.items())
    return f"<table>{cells}</table>"


def _remove_old(folder: Path) -> None:
    """Remove what was written to be downloaded and has been there for `KEPT` seconds."""
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > KEPT:
            shutil.rmtree(path, ignore_errors=True)
