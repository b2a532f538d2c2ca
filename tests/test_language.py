"""The words of the code, the messages and the docs are those of the field. `python tests/test_language.py [PATH ...]`
lists what is not, here or in the given files."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SELF = Path(__file__).resolve()
SUFFIXES = (".py", ".md", ".ipynb", ".toml", ".cc", ".cu", ".h", ".yaml", ".yml")

# Parts of identifiers (split at underscores and capitals), and what stands in their place.
PARTS = {
    "picture": "image",
    "pictures": "images",
    "truth": "gt_…, ground_truth",
    "slot": "entry, padded",
    "slots": "max_detections, padded",
    "settings": "config",
    "learnt": "trained",
    "told": "log",
    "colour": "color",
    "colours": "colors",
    "centre": "center",
    "grey": "gray",
    "normalise": "normalize",
    "serialise": "serialize",
    "initialise": "initialize",
}
# Names of variables, parameters and functions as a whole.
NAMES = {"found": "instances, detections, result", "say": "log", "told": "log", "whole_file": "atomic_write"}
# Names of classes that stood for two things.
CLASSES = {"Fault": "DatasetIssue, TrainingFault", "Settings": "BaseConfig", "Stage": "the module's own noun"}
# In sentences: docstrings, comments, messages, docs. Each pattern with the words to use.
SENTENCES = {
    r"\bpictures?\b": "image",
    r"(?<!ground)(?<!ground-)(?<!ground )(?<!ground_)\btruth\b": "ground truth",
    r"(?<!optimizer )(?<!optimizer's )(?<!__)\bslots?\b": "entries, padded entries",
    r"\b(?:learns?|learnt)\b(?! rate)": "train",
    r"\bby heart\b": "overfit",
    r"\b(?:gone|go|goes|going|went) on with\b": "resume, continue",
    r"\btold\b": "called with, given, recognized",
    r"\bsay(?:s)?: ": "log: ",
    r"\ba moment\b": "briefly",
    r"\b(?:dear|dearer)\b": "expensive",
    r"\bbetrays?\b": "reveal",
    r"\bcompany\b": "batch",
    r"\bat the door\b": "at the input",
    r"\blets go of\b": "unloads",
    r"\bwhole_file\b": "atomic_write",
    r"\b(?:rooms?|houses?)\b(?!\.svg|\.py)": "component, package, layer",
    r"\b[Cc]olours?\b": "color",
    r"\bcentre[ds]?\b": "center",
    r"\bgr(?:ey)\b": "gray",
    r"\b\w+(?:normalis|serialis|initialis|recognis|optimis|summaris|visualis|generalis)\w*": "-ize",
    r"\b(?:normalis|serialis|initialis|recognis|optimis|summaris|visualis|generalis)\w*": "-ize",
    r"\bbehaviour\b": "behavior",
    r"\blabell(?:ed|ing)\b": "labeled, labeling",
    r"\bneighbour\w*": "neighbor",
}
SENTENCE = {re.compile(pattern, re.IGNORECASE): word for pattern, word in SENTENCES.items()}
# Where a word is not ours: the fixed names of other programs and what they print.
FOREIGN = re.compile(
    r"`[^`]*`|https?://\S+|matterport/\S+|\w+_yxyx_normalised|\"centre\"|"  # "centre": in recipes of earlier versions
    r"128 house|make house|docs/house\S*|test_house|\"house\"|house\.(?:svg|py|png)"
)
EXEMPT = ("tests/matterport/scripts/", "tests/assets/", "LICENSE", "mrcnn/matterport/surface.json")


def tracked() -> list[Path]:
    """The files of the project that people read."""
    if not (ROOT / ".git").exists():
        listed = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if ".venv" not in path.parts]
    else:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    keep = [name for name in listed if name.endswith(SUFFIXES) and not name.startswith(EXEMPT)]
    return [ROOT / name for name in keep if (ROOT / name).exists() and ROOT / name != SELF]


def parts(name: str) -> list[str]:
    """An identifier's words: `maskRCNN_head` is mask, rcnn, head."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Every name that a module gives: (line, kind, name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, "class", node.name
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, "function", node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, "variable", node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "variable", node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "variable", node.attr


def in_names(source: str) -> Iterator[tuple[int, str]]:
    for line, kind, name in identifiers(ast.parse(source)):
        if kind == "class" and name in CLASSES:
            yield line, f"class {name}: {CLASSES[name]}"
        if kind != "class" and name.strip("_") in NAMES:
            yield line, f"{name}: {NAMES[name.strip('_')]}"
        words = [] if name == "__slots__" else parts(name)
        for i, word in enumerate(words):
            if word in PARTS and not (word == "truth" and i and words[i - 1] in ("ground", "gt")):
                yield line, f"{name}: {PARTS[word]}"


def in_sentences(text: str, first_line: int = 1) -> Iterator[tuple[int, str]]:
    before = ""
    for offset, sentence in enumerate(text.splitlines()):
        plain = FOREIGN.sub("", sentence)
        if before.rstrip().lower().endswith("ground"):  # "ground truth" over two lines
            plain = re.sub(r"^\W*truth\b", "", plain)
        before = sentence
        for pattern, word in SENTENCE.items():
            if match := pattern.search(plain):
                yield first_line + offset, f'"{match.group()}": {word}'


def in_python(source: str) -> Iterator[tuple[int, str]]:
    yield from in_names(source)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from in_sentences(token.string, token.start[0])


def in_notebook(text: str) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(json.loads(text)["cells"], 1):
        source = "".join(cell["source"])
        code = "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())
        for _, what in in_python(code) if cell["cell_type"] == "code" else in_sentences(source):
            yield number, f"cell {number}: {what}"


def words_of(path: Path) -> list[str]:
    """What a file says in other words than the field's, a line each."""
    text = path.read_text(encoding="utf-8")
    check = {".py": in_python, ".ipynb": in_notebook}.get(path.suffix, in_sentences)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return [f"{shown}:{line}: {what}" for line, what in check(text)]


@pytest.mark.parametrize("folder", ["mrcnn", "docs", "samples", "benchmarks", "notebooks", "custom_ops", "tests", ""])
def test_words_are_those_of_the_field(folder):
    files = [path for path in tracked() if (path.relative_to(ROOT).parts[0] if folder else "") == folder]
    if not folder:
        files = [path for path in tracked() if len(path.relative_to(ROOT).parts) == 1]
    assert files
    assert [line for path in files for line in words_of(path)] == []


@pytest.mark.parametrize(
    "source, what",
    [
        ("found = 1\n", "found: instances"),
        ("def f(say): pass\n", "say: log"),
        ("truth_boxes = 1\n", "truth_boxes: gt_"),
        ("class Fault: pass\n", "class Fault"),
        ('"""A picture."""\n', '"picture": image'),
        ("x = 1  # the company it keeps\n", '"company": batch'),
        ('raise ValueError(f"{x} has no truth")\n', '"truth": ground truth'),
    ],
)
def test_a_word_of_our_own_is_noticed(source, what):
    assert any(what in line for _, line in in_python(source))


@pytest.mark.parametrize(
    "source", ["gt_truth = 1\n", '"""Ground truth, `say=`."""\n', "# optimizer slots\n", "x = 1\n"]
)
def test_the_words_of_the_field_pass(source):
    assert list(in_python(source)) == []


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or tracked()
    for problem in [line for path in chosen for line in words_of(path)]:
        print(problem)
