"""The audit's entries: escaped, bounded, and the same in every format."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.records.audit import (
    NAME_MAX,
    SYSLOG_MAX,
    TEXT_MAX,
    Act,
    AuditFilter,
    Entry,
    Outcome,
    line,
    made_plain,
    plain,
    shown,
    syslog,
)
from state.records.stored import SCHEMA
from state.store import codecs

HOSTILE = "alice\r\n2026-11-25 carol is an admin now\x1b[2K\x00\u202egnp.exe\u2028\u0085"


def entry(**fields):
    return Entry(**{"time": 1764072000.25, "act": Act.SIGN_IN, **fields})


def test_an_entry_cannot_end_a_line_or_move_the_cursor():
    told = made_plain(entry(who=HOSTILE, by=HOSTILE, address=HOSTILE, user=HOSTILE, server=HOSTILE, what=HOSTILE))
    for text in (told.who, told.by, told.address, told.user, told.server, told.what):
        assert text.isprintable()
        assert text.startswith("alice\\u{d}\\u{a}2026")
    assert line(told).count(b"\n") == 1


@given(st.text(max_size=2000), st.integers(min_value=2, max_value=500))
def test_every_text_becomes_one_printable_line_of_bounded_length(text, most):
    told = plain(text, most)
    assert len(told) <= most
    assert len(told.splitlines()) <= 1
    assert all(character.isprintable() or character == "\u3000" or character.isspace() for character in told)
    assert plain(told, most) == told


def test_names_in_other_scripts_stay_unchanged():
    assert plain("Jörg Αλέξης 王", 50) == "Jörg Αλέξης 王"


def test_long_texts_are_truncated_visibly():
    told = made_plain(entry(who="a" * 100_000, what="b" * 100_000))
    assert (len(told.who), told.who[-1], len(told.what)) == (NAME_MAX, "…", TEXT_MAX)


@given(*[st.text(max_size=300)] * 5)
def test_any_entry_is_valid_json_and_rfc_5424(who, by, user, what, why):
    told = made_plain(entry(who=who, by=by, user=user, what=what, why=why, outcome=Outcome.REFUSED, server=user))
    assert json.loads(line(told))["act"] == "sign-in"
    message = syslog(told, host="hub one", pid=7)
    assert len(message) <= SYSLOG_MAX
    head = re.match(
        rb"<108>1 2025-11-25T12:00:00\.250000Z hubone towpath 7 sign-in \[towpath@32473((?: [a-z]+=\"(?:[^\"\\\]]|\\.)*\")+)",
        message,
        re.DOTALL,
    )
    assert head, message
    assert not set(message) & (set(range(32)) | {127})


def test_a_message_has_the_fields_and_a_sentence():
    told = entry(
        who="carol", by="session 1f", address="192.0.2.7", act=Act.SERVER_ACCESS, user="alice", server="", id="7-0"
    )
    assert syslog(told, host="hub", pid=7).decode() == (
        "<109>1 2025-11-25T12:00:00.250000Z hub towpath 7 server-access [towpath@32473"
        ' id="7-0" act="server-access" who="carol" by="session 1f" address="192.0.2.7" user="alice" server="" outcome="done"]'
        " server access by carol for alice/ from 192.0.2.7"
    )


def test_param_values_are_escaped():
    assert rb' who="a\"b\]c\\d"' in syslog(entry(who='a"b]c\\d'), host="", pid=1)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"about": "carol"}, True),
        ({"about": "alice"}, True),
        ({"about": "bob"}, False),
        ({"who": "carol", "user": "alice", "server": "lab", "act": "server-access", "outcome": "done"}, True),
        ({"who": "alice"}, False),
        ({"server": "other"}, False),
        ({"address": "192.0.2.7"}, True),
        ({"outcome": "refused"}, False),
        ({"since": 1764072000.0, "until": 1764072001.0}, True),
        ({"since": 1764072001.0}, False),
        ({"until": 1764072000.0}, False),
    ],
)
def test_filters_are_combined(wanted, fits):
    told = entry(who="carol", address="192.0.2.7", act=Act.SERVER_ACCESS, user="alice", server="lab")
    assert AuditFilter(**wanted).fits(told) is fits


def test_an_entry_of_a_newer_version_is_shown_with_what_this_version_knows():
    told = codecs.ENTRY.decode(json.dumps({"version": SCHEMA + 1, "time": 1.0, "act": "hub", "lane": 3}).encode())
    assert shown(told) == {"id": "", "time": "1970-01-01T00:00:01.000000Z", "act": "hub", "outcome": "done"}
    assert b"hub" in line(told)
    assert b"hub" in syslog(told, host="h", pid=1)
