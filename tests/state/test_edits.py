"""Changes of a request while its server waits."""

import pytest

from state.errors import TransitionError
from state.records.edits import editable, with_edit
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
