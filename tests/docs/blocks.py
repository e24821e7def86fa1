"""Reading our Markdown: fenced blocks, the marker in a comment before each, and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_STEP = re.compile(
    r"^<!-- (?P<marker>[^\n]*?) -->\n(?:```(?P<language>\w*)\n(?P<text>.*?)^```$)?",
    re.M | re.S,
)


class Step(NamedTuple):
    """A marked place in a page: what to do there, and the block that follows it (or nothing)."""

    line: int
    marker: str
    language: str
    text: str


def code_blocks(page, language):
    """The fenced blocks of one language: [(line, text without the fence's indentation)]."""
    source = page.read_text()
    found = []
    for match in _FENCE.finditer(source):
        if match["language"] == language:
            indent = len(match["indent"])
            text = "".join(line[indent:] or "\n" for line in match["text"].splitlines(keepends=True))
            found.append((source.count("\n", 0, match.start()) + 2, text))
    return found


def steps(page):
    """The marked places of a page, in order."""
    source = page.read_text()
    return [
        Step(source.count("\n", 0, match.start()) + 1, match["marker"], match["language"] or "", match["text"] or "")
        for match in _STEP.finditer(source)
    ]
