"""Records and their versions: data from newer versions is preserved, and an unreadable record says why."""

import json
import time

import pytest
from msgspec.structs import replace

from state.records.audit import Act, Entry
from state.records.codec import UnreadableError
from state.records.models import Endpoint, Server, Status, Target, Token, User
from state.records.stored import SCHEMA
from state.store import codecs

NEXT = SCHEMA + 1


def written(**fields):
    return json.dumps({"name": "ann", "created": 1.5, **fields}).encode()


def server_json(**fields):
    made = Server(
        user="ann", target=Target.READY, status=Status.READY, attempt="a" * 32, profile="p", cluster="c", requested=1.0
    )
    return json.dumps({**json.loads(codecs.SERVER.encode(made)), **fields}).encode()


def test_every_record_has_the_version_of_its_schema():
    assert json.loads(codecs.USER.encode(User(name="ann", created=1.0)))["version"] == SCHEMA
    entry = json.loads(codecs.ENTRY.encode(Entry(time=1.0, act=Act.HUB)))
    assert entry == {"version": SCHEMA, "time": 1.0, "act": "hub"}


def test_a_record_without_a_version_can_be_read():
    assert codecs.USER.decode(written()) == User(name="ann", created=1.5)


@pytest.mark.parametrize("version", [SCHEMA, NEXT])
def test_unknown_fields_survive_a_change_by_this_version(version):
    unknown = {"quota": {"cores": 1e3, "of": [], "empty": {}}, "seen": 1730000000.1234567}
    user = codecs.USER.decode(written(version=version, groups=["g"], **unknown))
    assert (user.name, user.groups) == ("ann", ("g",))
    again = json.loads(codecs.USER.encode(replace(user, admin=True, revision=7)))
    assert {name: again[name] for name in unknown} == unknown
    assert (again["version"], again["admin"], again["revision"], again["groups"]) == (version, True, 7, ["g"])
    assert "newer" not in again
    assert codecs.USER.decode(codecs.USER.encode(replace(user, groups=()))).groups == ()


def test_a_nested_field_of_a_newer_version_is_kept_until_the_field_is_changed():
    endpoint = {"kind": "unix", "path": "/s", "tunnel": "quic"}
    server = codecs.SERVER.decode(server_json(version=NEXT, endpoint=endpoint))
    assert json.loads(codecs.SERVER.encode(replace(server, warned=5)))["endpoint"] == endpoint
    moved = json.loads(codecs.SERVER.encode(replace(server, endpoint=Endpoint(kind="unix", path="/t"))))
    assert moved["endpoint"]["path"] == "/t"
    assert "tunnel" not in moved["endpoint"]


@pytest.mark.parametrize(
    ("raw", "newer", "says"),
    [
        (server_json(status="hibernating"), False, "hibernating"),
        (server_json(version=NEXT, status="hibernating"), True, f"schema {NEXT}"),
        (b'{"user":"ann"}', False, "missing required field"),
        (server_json(requested="yesterday"), False, "requested"),
        (b"", False, ""),
        (b"null", False, ""),
        (b"\x00\xff", False, ""),
        (b'{"user":"\xff"}', False, ""),
        (b"[" * 100_000, False, ""),
        (b'{"user":{"a":' + b'{"a":' * 50_000, False, ""),
        (server_json(version="two"), False, "int"),
        (server_json()[:-1], False, ""),
    ],
)
def test_an_unreadable_record_says_why(raw, newer, says):
    with pytest.raises(UnreadableError) as caught:
        codecs.SERVER.decode(raw)
    assert caught.value.newer is newer
    assert says in str(caught.value)


def test_only_the_unreadable_ones_of_many_records_are_missing():
    good = [codecs.TOKEN.encode(Token(id=str(n), user="ann", scopes=(), created=1.0)) for n in range(5)]
    bad = b'{"id":1}'
    found = codecs.TOKEN.decode_each([good[0], bad, *good[1:]])
    assert [one.id if isinstance(one, Token) else "bad" for one in found] == ["0", "bad", "1", "2", "3", "4"]
    two_in_one = good[0] + b"," + good[1]
    assert isinstance(codecs.TOKEN.decode_each([two_in_one])[0], UnreadableError)
    newer = written(version=NEXT, extra=1)
    assert codecs.USER.decode_each([written(), newer])[1].newer["extra"]


def test_records_of_this_version_are_decoded_only_once():
    raw = [codecs.TOKEN.encode(Token(id=str(n), user="ann", scopes=(), created=time.time())) for n in range(2000)]
    assert all(one.newer is codecs.TOKEN.decode(raw[0]).newer for one in codecs.TOKEN.decode_each(raw))
