"""The terms of docs/glossary.md are used, and the synonyms that it rules out are not."""

import re

import pytest

from tests.test_plain_english import ROOT, files

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
TERMS, NOT_USED = GLOSSARY.split("## Not used")


def first_cells(section):
    """Return the entries of the first column of a section's tables; a cell can have several, separated by commas."""
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return [entry.strip() for cell in rows if cell not in {"term", "instead of"} for entry in cell.split(",")]


@pytest.mark.parametrize("term", first_cells(TERMS))
def test_each_term_is_used(term):
    rule = re.compile(rf"\b{re.escape(term)}", re.IGNORECASE)
    assert any(rule.search(text) for _, text in files())


@pytest.mark.parametrize("synonym", first_cells(NOT_USED))
def test_ruled_out_synonyms_are_not_used(synonym):
    rule = re.compile(rf"\b{re.escape(synonym)}s?\b", re.IGNORECASE)
    own = {"tests/test_glossary.py"}
    assert [name for name, text in files() if name not in own and rule.search(text)] == []
