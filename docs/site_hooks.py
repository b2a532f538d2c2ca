"""What mkdocs does beside its plugins: links out of docs/ become text, notebooks become pages, test notes go.

Ref: mkdocs.org, user guide, "hooks".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_NOTE = re.compile(r"^<!-- test: .*? -->\n", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Notebooks lie beside docs/."""
    root = Path(config["config_file_path"]).parent
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        relative = path.relative_to(root)
        files.append(File.generated(config, str(relative), content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A file of the repository that is not a page has no link: the site is read without the repository, too."""
    here = Path(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"(https?:|mailto:|#)", target):
            return match[0]
        place = target.partition("#")[0]
        inside = _resolved(here / place)
        if inside is not None and files.get_file_from_path(inside):
            return match[0]
        notebook = _resolved(Path("docs") / here / place)
        if notebook is not None and notebook.endswith(".ipynb"):
            return f"[{text}]({'../' * len(here.parts)}{notebook})"
        if notebook == "README.md":
            return f"[{text}]({'../' * len(here.parts)}index.md)"
        return f"`{notebook or place}`" if text == place else f"{text} (`{notebook or place}`)"

    return _LINK.sub(link, _NOTE.sub("", markdown))


def _resolved(path: Path) -> str | None:
    """A path without dots; None: outside."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
