"""Impossible requests are rejected with the reason next to the field: by form and API, else by sbatch."""

import re
from contextlib import closing

import pytest

from tests.cluster.faulty import FaultyHub, clear, jobs_of, short, visible_text

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def hub(slurm_session, short_folder):
    """A hub that gathers its catalog once, and does not know what root changes later."""
    hub = FaultyHub(short(short_folder), slurm_session, catalog_seconds=3600).start()
    hub.settled()
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def her(hub):
    with closing(hub.user("alice")) as alice:
        yield alice


@pytest.fixture
def alice(slurm, hub, her):
    yield her
    clear(hub, her)


def beside(page, field):
    """Return the message next to a field of the form."""
    found = re.search(rf'<p class="error" id="opt\.app\.{field}\.error">(.*?)</p>', page, flags=re.DOTALL)
    hidden = re.search(r'<p class="error wide" role="alert">(.*?)</p>', page, flags=re.DOTALL)
    return visible_text((found or hidden)[1]) if found or hidden else ""


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("account", {"account": "nosuch"}),
        ("account", {"account": "bio", "partition": "gpu"}),
        ("qos", {"qos": "nosuch"}),
        ("qos", {"account": "bio", "qos": "gpuq"}),
        ("partition", {"partition": "nosuch"}),
        ("gpus", {"partition": "gpu", "gpu": "a100", "gpus": 9}),
        ("gpu", {"partition": "gpu", "gpu": "h100", "gpus": 1}),
        ("gpus", {"partition": "cpu", "gpus": 1}),
        ("walltime", {"partition": "gpu", "walltime": "09:00:00"}),
        ("walltime", {"qos": "debug", "walltime": "01:00:00"}),
        ("memory", {"memory": "900G"}),
        ("cores", {"cores": 99}),
    ],
)
def test_an_impossible_request_is_rejected_by_form_and_api_next_to_the_field(hub, alice, field, choices):
    answer = alice.ask(**choices)
    assert answer.status_code == 400, answer.text
    told = answer.json()["fields"]
    assert field in told, told
    assert told[field].endswith(".")
    assert told[field] in answer.json()["message"]
    typed = {f"opt.app.{name}": str(value) for name, value in choices.items()}
    page = alice.browser.post("/hub/spawn/alice", data={"profile": "app", **typed})
    assert page.status_code == 400
    assert beside(page.text, field) == told[field]
    assert not hub.jobs()
    assert not alice.attempt()  # no start was begun


MODIFY = ("sacctmgr", "-i", "modify")
CHANGES = {
    "account": (
        ("sacctmgr", "-i", "delete", "user", "alice", "account=bio"),
        ("sacctmgr", "-i", "add", "user", "alice", "account=bio", "partition=cpu"),
    ),
    "walltime": tuple((*MODIFY, "qos", "debug", "set", f"MaxWall={wall}") for wall in ("00:05:00", "00:30:00")),
    "partition": tuple(("scontrol", "update", "PartitionName=gpu", f"State={state}") for state in ("INACTIVE", "UP")),
    "qos": tuple((*MODIFY, "account", "physics", "set", f"qos{sign}=scavenger") for sign in ("-", "+")),
}
"""Field → what root does after the catalog was gathered, and how to undo it."""


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("account", {"account": "bio", "partition": "cpu"}),
        ("walltime", {"qos": "debug", "walltime": "00:20:00"}),
        ("partition", {"partition": "gpu"}),
        ("qos", {"qos": "scavenger"}),
    ],
)
def test_a_request_that_the_catalog_allowed_is_rejected_by_sbatch_next_to_the_field(slurm, hub, alice, field, choices):
    change, undo = CHANGES[field]
    slurm.run(*change)
    try:
        alice.start(**choices)
        model = alice.until("failed")
        attempt = alice.attempt()
        reason = model["reason"]
        assert reason["field"] == field, reason
        assert reason["message"].endswith(".")
        assert reason["message"] in alice.pending()
        assert "Change request" in alice.pending()
        form = alice.browser.get("/hub/spawn/alice").text
        assert reason["message"] in beside(form, field)
        assert jobs_of(slurm, attempt) == {}
        assert not hub.jobs()
    finally:
        slurm.run(*undo)
    alice.start(**choices)
    alice.until("ready")
    alice.answers()
