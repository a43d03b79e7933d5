"""Changes of a request while its server waits."""

import pytest

from state.errors import TransitionError
from state.records.edits import REQUEST, editable, new_attempt, with_edit
from state.records.models import Server, Status, Target


def server(status, target=Target.READY, **more):
    return Server(
        user="alice", target=target, status=status, attempt="a", profile="p", cluster="c", requested=1.0,
        choices={"cores": 2}, **more,
    )  # fmt: skip


@pytest.mark.parametrize("status", list(Status))
def test_a_request_can_be_changed_until_its_job_starts(status):
    waits = status in (Status.REQUESTED, Status.QUEUED)
    assert editable(server(status)) is waits
    assert not editable(server(status, Target.STOPPED))
    assert not editable(server(status, removing=True))
    if not waits:
        with pytest.raises(TransitionError):
            with_edit(server(status), {"cores": 4})


def test_the_record_keeps_the_old_choices_until_the_change_is_made():
    changed = with_edit(server(Status.QUEUED), {"cores": 4})
    assert (changed.choices, changed.edited) == ({"cores": 2}, {"cores": 4})
    assert with_edit(changed, {"cores": 2}).edited is None


OF_THE_ATTEMPT = {
    "target", "status", "attempt", "job", "endpoint", "credential", "report_hash", "reason", "requested", "running",
    "ready", "ended", "deadline", "stale", "waiting", "node", "restart", "warned", "notice", "token_hash", "hub_app",
    "log", "removing", "hooked", "suspended", "edited", "note",
}  # fmt: skip
OF_THE_RECORD = {"version", "newer", "revision", "fence"}


def test_a_new_attempt_keeps_the_whole_request_and_nothing_of_the_old_attempt():
    """Each field belongs to one of the three: a new one has to be put into one of them."""
    assert {*REQUEST, *OF_THE_ATTEMPT, *OF_THE_RECORD} == set(Server.__struct_fields__)
    old = server(
        Status.QUEUED, name="gpu", display_name="GPU", strip_prefix=True, cors_origins=("https://apps.example.edu",),
        node="n1", log="/l", revision=7, fence=3,
    )  # fmt: skip
    new = new_attempt(old, now=2.0)
    assert [getattr(new, name) for name in REQUEST] == [getattr(old, name) for name in REQUEST]
    assert (new.status, new.requested, new.node, new.log) == (Status.REQUESTED, 2.0, "", "")
    assert (new.revision, new.fence) == (7, 3)
    assert new.attempt != old.attempt
