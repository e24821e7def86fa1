"""Every relative link of a page leads to a file, and every fragment to a heading."""

import re

import pytest

from .blocks import DOCS, PAGES, ROOT

README = ROOT / "README.md"
ALL_PAGES = [*PAGES, *([README] if README.exists() else [])]
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.M | re.S)


def _headings(page):
    """The fragments that a page offers, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", ALL_PAGES, ids=lambda document: str(document.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document):
    broken = []
    for target in _LINK.findall(_CODE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in _headings(file)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_index():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in _LINK.findall(page.read_text())]
        waiting += [(page.parent / link).resolve() for link in links if link.endswith(".md")]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def test_pages_name_no_machine_of_ours():
    for page in ALL_PAGES:
        found = re.search(r"/(?:work|root|home|tmp)/|pythonhosted|simple/", page.read_text())
        assert found is None, f"{page}: {found[0]}"
