"""What the hand-written pages list is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.cli import COMMANDS

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("streams", "registry", "agents", "executors", "headrace")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
CODE = re.compile(r'^    code(?:: ClassVar\[str\])?(?:, retryable)? = "([a-z_]+)"', re.MULTILINE)
ROW = re.compile(r"^\| `([a-z]+)` \| (.+?) \|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
FILE = re.compile(
    rf"(?:{'|'.join((*PACKAGES, 'benchmarks', 'examples', 'tests', 'docs'))})/[\w./-]+\.(?:py|md|txt|svg)"
)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_code_of_ours_says_what_to_do() -> None:
    """A code in an answer or on stderr is found in the pages for operators."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    codes = {code for path in sources for code in CODE.findall(read(path))}
    told = read(ROOT / "docs" / "operations.md") + read(ROOT / "docs" / "broker.md")

    assert len(codes) > 40
    assert {code for code in codes if f"`{code}`" not in told} == set()


def test_readme_lists_the_commands() -> None:
    """In the order and the words of `headrace --help`."""
    rows = ROW.findall(read(ROOT / "README.md"))

    assert [row for row in rows if row[0] in COMMANDS] == list(COMMANDS.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_only_what_is_there(page: Path) -> None:
    """Links between pages, and files of ours that a page names."""
    text = read(page)
    links = {page.parent / target for target in LINK.findall(text) if "://" not in target}
    files = {ROOT / name for name in FILE.findall(text) if "NNNN" not in name}

    assert {str(path) for path in links | files if not path.exists()} == set()
