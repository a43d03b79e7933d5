"""The fuzzer's corpus: inputs that reach all of the code, and those that once failed."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_is_taken_as_it_must_be(name):
    files = sorted((CORPUS / name).iterdir())
    assert files
    for file in files:
        try:
            TARGETS[name](file.read_bytes())
        except Exception as error:
            error.add_note(str(file))
            raise


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {entry.name for entry in CORPUS.iterdir()} == set(TARGETS)
