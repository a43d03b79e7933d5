"""A job's comment has room for the record, and only this hub can write it."""

import json
import os
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.launchers.slurm import grammar
from batch.launchers.slurm.comment import attempt_of, read, write
from batch.launchers.slurm.script import MAX_COMMENT
from state.records.stored import SCHEMA, known_fields
from state.store import codecs
from tests.batch.launchers.slurm.making import record
from tests.newer import by_a_newer_version

KEY = os.urandom(32)


def test_a_record_comes_back_as_it_was_saved():
    saved = record("a.b+c@d-e_f", "lab-2", choices={"memory": "4G", "gpus": 1, "big": True}, display_name="My lab")
    found = read(KEY, saved.attempt, write(KEY, saved))
    assert found.record == saved
    assert (found.user, found.server) == ("a.b+c@d-e_f", "lab-2")


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.text(max_size=1024), max_size=6), st.text())
def test_a_record_fits_into_a_comment_with_any_picks(choices, title):
    saved = record("u" * 64, "s" * 30, choices=choices, display_name=title[:64])
    text = write(KEY, saved)
    assert len(text) <= MAX_COMMENT
    grammar.checked("comment", text)
    found = read(KEY, saved.attempt, text).record
    assert found in (saved, replace(saved, choices={}))
    assert (found.credential, found.report_hash) == (saved.credential, saved.report_hash)


def test_the_record_of_a_newer_version_keeps_its_unknown_fields():
    saved = by_a_newer_version(record(choices={"memory": "4G"}), quota={"cores": 4}, lane="fast")
    found = read(KEY, saved.attempt, write(KEY, saved)).record
    assert known_fields(found) == known_fields(saved)
    again = json.loads(codecs.SERVER.encode(found))
    assert (again["version"], again["quota"], again["lane"]) == (SCHEMA + 1, {"cores": 4}, "fast")


def test_unknown_fields_that_are_too_long_give_way_to_the_choices():
    saved = by_a_newer_version(record(choices={"memory": "4G"}), lane=os.urandom(2048).hex())
    text = write(KEY, saved)
    assert len(text) <= MAX_COMMENT
    assert known_fields(read(KEY, saved.attempt, text).record) == known_fields(saved)


def test_a_usual_record_takes_a_third_of_the_room():
    choices = {
        "partition": "gpu",
        "gpu": "a100",
        "gpus": 1,
        "memory": "16G",
        "walltime": "08:00:00",
        "account": "physics",
    }
    assert len(write(KEY, record(choices=choices))) < 400


def test_nothing_of_the_record_can_be_read_without_the_key():
    saved = record()
    text = write(KEY, saved)
    for secret in (saved.credential, saved.report_hash, saved.profile):
        assert secret not in text
    assert read(os.urandom(32), saved.attempt, text) is None


def test_a_comment_belongs_to_its_attempt_and_its_user_and_server():
    saved, other = record("alice", "lab"), record("alice", "lab")
    text = write(KEY, saved)
    assert read(KEY, other.attempt, text) is None
    for forged in ("bob/lab", "alice/other", "alice"):
        found = read(KEY, saved.attempt, re.sub(r"alice/lab", forged, text))
        assert found is None, forged


@given(st.text())
def test_any_other_comment_is_not_ours(text):
    assert read(KEY, "0" * 32, text) is None
    assert read(KEY, "0" * 32, f"towpath:1:alice/lab:{text}") is None


@given(st.text())
def test_only_a_name_with_an_attempt_is_ours(text):
    if not re.fullmatch(r"towpath-[0-9a-f]{32}", text):
        assert attempt_of(text) == ""
    assert attempt_of("towpath-" + "0a" * 16) == "0a" * 16
