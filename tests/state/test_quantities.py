"""Sizes and durations: what is accepted, what is rejected, and their canonical text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.offer.quantities import LONGEST, MEBIBYTE, memory_of, memory_text, walltime_of, walltime_text, walltime_words


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("4G", "4G"), ("512M", "512M"), ("1.5 GB", "1536M"), ("2TiB", "2048G"), (" 4 g ", "4G"), ("1024m", "1G"),
        ("0.5G", "512M"), ("1.001G", "1025M"),
    ],
)  # fmt: skip
def test_a_size_has_one_text(text, canonical):
    assert memory_text(memory_of(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "4096",
        "G",
        "-4G",
        "4K",
        "0G",
        "0.0001M",
        "99999999999G",
        "4G\n#SBATCH",
        "4 4G",
        "1e3G",
        "٤G",
        "4G;",
        "0x4G",
        "999999999T",
    ],
)
def test_invalid_and_excessive_sizes_are_rejected(text):
    assert memory_of(text) is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("08:00:00", "08:00:00"), ("8:0:0", "08:00:00"), ("1-12:00:00", "1-12:00:00"), ("1-12", "1-12:00:00"),
        ("1-12:30", "1-12:30:00"), ("90m", "01:30:00"), ("1h 30m", "01:30:00"), ("1h30min", "01:30:00"),
        ("2 days", "2-00:00:00"), ("36:00:00", "1-12:00:00"), ("8H", "08:00:00"), ("00:00:30", "00:00:30"),
        ("1d 2h 3m", "1-02:03:00"),
    ],
)  # fmt: skip
def test_a_duration_has_one_text(text, canonical):
    assert walltime_text(walltime_of(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8:00",
        "90",
        "8",
        "00:00:00",
        "0h",
        "1:60:00",
        "1:00:60",
        "-1:00:00",
        "99999-00",
        "UNLIMITED",
        "1h\n2h",
        "1:00:00 #SBATCH",
        "h",
        "8 h x",
        "٨h",
    ],
)
def test_ambiguous_and_invalid_durations_are_rejected(text):
    assert walltime_of(text) is None


@given(st.integers(1, LONGEST))
def test_every_walltime_can_be_parsed_again(seconds):
    text = walltime_text(seconds)
    assert walltime_of(text) == seconds
    assert walltime_text(walltime_of(text)) == text
    assert walltime_words(seconds)


@given(st.integers(1, 2**30))
def test_every_size_can_be_parsed_again(mebibytes):
    text = memory_text(mebibytes * MEBIBYTE)
    assert memory_of(text) == mebibytes * MEBIBYTE


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_rejected(text):
    for read, write in ((memory_of, memory_text), (walltime_of, walltime_text)):
        found = read(text)
        assert found is None or read(write(found)) == found


def test_descriptions_never_promise_more_than_there_is():
    assert walltime_words(8 * 3600) == "8 hours"
    assert walltime_words(36 * 3600) == "1 day 12 hours"
    assert walltime_words(3659) == "1 hour"
    assert walltime_words(30) == "less than a minute"
