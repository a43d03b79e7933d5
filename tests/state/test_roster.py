"""Rosters: accepted formats, and errors by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.records.roster import read


@pytest.mark.parametrize(
    "text",
    [
        "user\nann\nbob\n",
        "\ufeffUser;Section\r\nann;1\r\nBOB;2\r\n",
        "section\tlogin\n1\tann\n\n2\tbob\n\n",
        'name,"note"\nann,"a, b\nc"\nbob,\n',
        " username ,x\n ann ,\n bob,",
    ],
)
def test_all_csv_formats_of_spreadsheets_are_read(text):
    found = read(text)
    assert found.faults == ()
    assert found.names == ("ann", "bob")


def test_errors_are_reported_by_line():
    found = read("user,section\nann,1\n,2\nbob smith,3\nANN,4\nroot;x,5\n")
    assert [line for line, _ in found.faults] == [3, 4, 5, 6]
    assert "already in line 2" in found.faults[2][1]


@pytest.mark.parametrize("text", ["", "\n", "mail\na@b\n", "user\n", 'user\n"ann\n', "user,user2\n"])
def test_a_file_that_is_not_a_roster_is_rejected(text):
    found = read(text)
    assert found.names == ()
    assert len(found.faults) == 1


@given(st.text(max_size=300))
def test_no_text_raises_an_unexpected_error(text):
    found = read("user\n" + text)
    assert found.names or found.faults
