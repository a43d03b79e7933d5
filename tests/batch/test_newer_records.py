"""Everything that encodes a record takes one that a newer version of Towpath wrote, and keeps its unknown fields."""

import base64
import json
import os
import time

from batch.authority import seal
from batch.contract import starter_spec
from batch.launchers.local.folder import JobFolder, boot_id
from batch.launchers.ssh.records import open_record, seal_record
from state.records.stored import SCHEMA, known_fields
from state.store import codecs
from tests.batch.launchers.slurm.making import job, record
from tests.newer import by_a_newer_version

UNKNOWN = {"quota": {"cores": 4}, "lane": "fast"}


def unknown_of(server):
    told = json.loads(codecs.SERVER.encode(server))
    assert told["version"] == SCHEMA + 1
    return {name: told[name] for name in UNKNOWN}


def test_the_record_that_an_ssh_host_keeps():
    key = os.urandom(32)
    saved = by_a_newer_version(record(), **UNKNOWN)
    text = seal_record(key, saved)
    found = open_record(key, saved.attempt, text)
    assert known_fields(found) == known_fields(saved)
    assert unknown_of(found) == UNKNOWN


def test_the_record_that_a_newer_hub_sealed_for_an_ssh_host():
    key = os.urandom(32)
    saved = by_a_newer_version(record(), **UNKNOWN)
    text = base64.b64encode(seal(key, saved.attempt, codecs.SERVER.encode(saved))).decode()
    assert unknown_of(open_record(key, saved.attempt, text)) == UNKNOWN


def test_the_record_in_the_folder_of_a_local_job(tmp_path):
    saved = by_a_newer_version(record(), **UNKNOWN)
    spec = starter_spec(job(record=saved), str(tmp_path))
    assert {name: json.loads(spec)["record"][name] for name in UNKNOWN} == UNKNOWN
    assert "newer" not in json.loads(spec)["record"]
    folder = tmp_path / saved.attempt
    folder.mkdir()
    (folder / "spec.json").write_bytes(spec)
    found = JobFolder(folder).view(boot=boot_id(), now=time.time(), busy=True).record
    assert known_fields(found) == known_fields(saved)
    assert unknown_of(found) == UNKNOWN


def test_a_local_job_whose_record_cannot_be_read_is_still_a_job(tmp_path):
    spec = {**json.loads(starter_spec(job(), str(tmp_path))), "record": {"version": SCHEMA + 1, "status": "new"}}
    folder = tmp_path / spec["attempt"]
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec))
    view = JobFolder(folder).view(boot=boot_id(), now=time.time(), busy=True)
    assert (view.user, view.record) == (spec["user"], None)
