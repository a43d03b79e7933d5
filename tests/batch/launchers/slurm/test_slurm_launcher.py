"""The launcher's own rules, on a scripted Slurm."""

import asyncio

import pytest
from msgspec.structs import replace

from batch.contract import JobState, LauncherError
from batch.launchers.slurm import launcher as module
from batch.launchers.slurm.client import Past
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.launcher import (
    AGAIN_SECONDS,
    KEEP_SECONDS,
    LATE_SECONDS,
    LOST_SECONDS,
    REST_SECONDS,
    SETTLE_SECONDS,
)
from tests.batch.launchers.slurm.making import job
from tests.batch.launchers.slurm.scripted import Clock, Scripted, make
from tests.conftest import run


@pytest.fixture(autouse=True)
def _accounts(monkeypatch):
    """All users have an account; these tests do not query the machine."""

    def identity(user, *, min_uid):
        return Identity(name=user, uid=2000, gid=2000, groups=(2000,), home=f"/home/{user}", shell="/bin/bash")

    monkeypatch.setattr(module, "identity_of", identity)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def slurm(clock):
    return Scripted(clock)


@pytest.fixture
def one(slurm, clock):
    return make(slurm, clock)


async def ended(launcher, slurm, clock, spec, state="FAILED", **how):
    """Return a job that ran and ended, and its view."""
    number = int((await launcher.submit(spec)).native_id)
    slurm.step(number, "RUNNING", started=clock.now)
    await launcher.poll()
    slurm.end(number, state, **how)
    return (await launcher.poll())[spec.attempt]


# --- submit


def test_a_first_submit_asks_slurm_once(one, slurm):
    run(one.submit(job(again=False)))
    assert slurm.calls == ["submit"]


def test_a_second_submit_looks_before_and_after(one, slurm):
    run(one.submit(job(again=True)))
    assert slurm.calls == ["jobs", "past", "submit", "jobs"]


def test_a_lost_answer_is_no_second_job(one, slurm, clock):
    async def body():
        spec = job(again=False)
        slurm.lose = True
        with pytest.raises(LauncherError):
            await one.submit(spec)
        slurm.lose = False
        assert (await make(slurm, clock).submit(replace(spec, again=True))).native_id == "1"
        assert list(slurm.rows) == [1]

    run(body())


def test_a_job_that_has_ended_and_is_forgotten_by_slurmctld_is_found_in_the_accounting(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.end(1, "COMPLETED")
        assert (await make(slurm, clock).submit(replace(spec, again=True))).native_id == "1"
        assert slurm.rows == {}

    run(body())


def test_an_attempt_that_may_have_a_job_is_not_submitted(one, slurm):
    slurm.db_down = True
    with pytest.raises(LauncherError) as caught:
        run(one.submit(job(again=True)))
    assert caught.value.transient
    assert slurm.rows == {}


def test_without_accounting_the_queue_alone_is_looked_at(one, slurm):
    slurm.db_disabled = True
    assert run(one.submit(job(again=True))).native_id == "1"


def test_two_at_once_agree_on_the_oldest_job(one, slurm, clock):
    async def body():
        spec = job(again=True)
        refs = await asyncio.gather(*(make(slurm, clock).submit(spec) for _ in range(4)))
        assert {ref.native_id for ref in refs} == {"1"}
        assert [number for number, row in slurm.rows.items() if row.state == "PENDING"] == [1]

    run(body())


def test_a_late_submit_of_a_fenced_off_leader_is_cancelled_by_the_poll(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        await make(slurm, clock).submit(spec)  # a job of the old leader, which believed to be the first
        slurm.step(1, "RUNNING", started=clock.now)
        view = (await one.poll())[spec.attempt]
        assert (view.native_id, view.state) == ("1", JobState.ACTIVE)
        assert slurm.canceled == [2]
        await one.poll()
        assert slurm.canceled == [2]

    run(body())


def test_the_younger_of_two_goes_also_when_the_older_has_ended(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        await make(slurm, clock).submit(spec)
        slurm.end(1, "FAILED", code=3, forget=False)
        assert (await one.poll())[spec.attempt].state is JobState.FAILED
        assert slurm.canceled == [2]

    run(body())


# --- poll


def test_a_poll_is_one_request(one, slurm):
    async def body():
        for _ in range(5):
            await one.submit(job(again=False))
        await one.poll()
        slurm.calls.clear()
        await one.poll()
        assert slurm.calls == ["jobs"]

    run(body())


def test_all_ended_jobs_are_queried_in_one_request(one, slurm, clock):
    async def body():
        specs = [job(again=False) for _ in range(4)]
        for number, spec in enumerate(specs, 1):
            await one.submit(spec)
            slurm.step(number, "RUNNING", started=clock.now)
        await one.poll()
        slurm.end(1, "OUT_OF_MEMORY", signal=125)
        slurm.end(2, "COMPLETED")
        slurm.end(3, "FAILED", code=7, forget=False)
        slurm.calls.clear()
        views = await one.poll()
        assert slurm.calls == ["jobs", "past"]
        states = [views[spec.attempt].state for spec in specs]
        assert states == [JobState.FAILED, JobState.COMPLETED, JobState.FAILED, JobState.ACTIVE]
        assert views[specs[0].attempt].ending.code == "out-of-memory"
        assert views[specs[2].attempt].exit_code == 7
        slurm.calls.clear()
        await one.poll()
        assert slurm.calls == ["jobs"]

    run(body())


def test_an_ended_job_stays_for_an_hour(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec)
        clock.now += KEEP_SECONDS - 1
        assert spec.attempt in await one.poll()
        clock.now += 2
        assert spec.attempt not in await one.poll()

    run(body())


def test_a_restarted_hub_learns_what_ended_meanwhile(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec, "TIMEOUT")
        view = (await make(slurm, clock).poll())[spec.attempt]
        assert (view.state, view.ending.code, view.record) == (JobState.FAILED, "walltime", spec.record)

    run(body())


def test_where_the_site_stores_no_comments_an_end_is_still_seen(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec, "TIMEOUT")
        slurm.pasts[1] = replace(slurm.pasts[1], comment="")
        view = (await make(slurm, clock).poll())[spec.attempt]
        assert (view.user, view.server, view.state) == ("alice", "", JobState.FAILED)

    run(body())


def test_with_the_accounting_away_nothing_is_concluded_of_what_has_vanished(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "RUNNING", started=clock.now)
        await one.poll()
        slurm.db_down = True
        slurm.end(1, "TIMEOUT")
        for _ in range(5):
            assert (await one.poll())[spec.attempt].state is JobState.ACTIVE
            clock.now += LOST_SECONDS
        slurm.db_down = False
        assert (await one.poll())[spec.attempt].ending.code == "walltime"

    run(body())


def test_an_accounting_that_does_not_answer_is_left_alone_for_a_while(one, slurm, clock):
    async def body():
        slurm.db_down = True
        await one.poll()
        slurm.calls.clear()
        await one.poll()
        assert slurm.calls == ["jobs"]
        clock.now += REST_SECONDS + 1
        await one.poll()
        assert slurm.calls == ["jobs", "jobs", "past"]

    run(body())


def test_a_slow_accounting_delays_no_poll_and_is_read_later(one, slurm, clock, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)

    async def body():
        specs = [job(again=False) for _ in range(2)]
        for number, spec in enumerate(specs, 1):
            await one.submit(spec)
            slurm.step(number, "RUNNING", started=clock.now)
        await one.poll()
        real, thought = slurm.past, asyncio.Event()

        async def slow(**asked):
            await thought.wait()
            return await real(**asked)

        slurm.past = slow
        slurm.end(1, "TIMEOUT")
        assert (await one.poll())[specs[0].attempt].state is JobState.ACTIVE
        slurm.end(2, "TIMEOUT")  # nothing has queried this one yet
        clock.now += LOST_SECONDS * 2
        views = await one.poll()
        assert [views[spec.attempt].state for spec in specs] == [JobState.ACTIVE, JobState.ACTIVE]
        thought.set()
        await asyncio.sleep(0)
        views = await one.poll()
        assert views[specs[0].attempt].ending.code == "walltime"
        assert (await one.poll())[specs[1].attempt].ending.code == "walltime"
        await one.close()

    run(body())


def test_an_end_that_slurmctld_shows_counts_with_the_accounting_away(one, slurm, clock):
    async def body():
        spec = job(again=False)
        slurm.db_down = True
        view = await ended(one, slurm, clock, spec, code=5, forget=False)
        assert (view.state, view.exit_code) == (JobState.FAILED, 5)

    run(body())


def test_the_accounting_may_be_a_little_behind(one, slurm, clock):
    async def body():
        spec = job(again=False)
        view = await ended(one, slurm, clock, spec, "CANCELLED", forget=False, told=False)
        assert view.state is JobState.ACTIVE
        slurm.end(1, "CANCELLED", forget=False, cancelled_by="carol")
        view = (await one.poll())[spec.attempt]
        assert view.state is JobState.CANCELED
        assert "carol" in view.ending.message

    run(body())


def test_an_accounting_that_stays_behind_is_not_waited_for(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec, forget=False, told=False, code=2)
        clock.now += LATE_SECONDS
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.exit_code) == (JobState.FAILED, 2)

    run(body())


def test_an_end_without_accounting_is_reported_with_what_slurmctld_knows(one, slurm, clock):
    async def body():
        spec = job(again=False)
        number = int((await one.submit(spec)).native_id)
        slurm.step(number, "RUNNING", started=clock.now, memory=200 << 20, limit=1800.0)
        await one.poll()
        slurm.db_down = True
        slurm.end(number, "OUT_OF_MEMORY", forget=False, signal=125)
        view = (await one.poll())[spec.attempt]
        assert view.ending.message == "The job ran out of memory (asked for 200 MB)."

    run(body())


@pytest.mark.parametrize("forget", [False, True])
def test_details_that_accounting_adds_late_are_reported(one, slurm, clock, forget):
    async def body():
        spec = job(again=False)
        slurm.db_down = True
        view = await ended(one, slurm, clock, spec, "CANCELLED", forget=False, told=False, code=1)
        assert "outside the hub" in view.ending.message
        assert view.unsure, "it is to be looked at again soon"
        slurm.db_down = False
        slurm.end(1, "CANCELLED", forget=forget, cancelled_by="carol", code=None)
        clock.now += REST_SECONDS
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.ending.message) == (JobState.CANCELED, "carol cancelled the job.")
        assert not view.unsure
        slurm.calls.clear()
        assert (await one.poll())[spec.attempt] == view
        assert slurm.calls == ["jobs"]

    run(body())


def test_an_accounting_that_never_reports_an_end_is_not_queried_for_ever(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec, forget=False, told=False, code=2)
        clock.now += LATE_SECONDS
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.unsure) == (JobState.FAILED, True)  # it is checked again soon
        clock.now += SETTLE_SECONDS + 1
        slurm.calls.clear()
        assert view.unsure
        assert (await one.poll())[spec.attempt] == replace(view, unsure=False)
        assert slurm.calls == ["jobs"]

    run(body())


def test_our_own_cancel_needs_no_accounting(one, slurm, clock):
    async def body():
        spec = job(again=False)
        ref = await one.submit(spec)
        await one.poll()
        await one.cancel(ref, spec.attempt)
        slurm.calls.clear()
        assert (await one.poll())[spec.attempt].state is JobState.CANCELED
        assert slurm.calls == ["jobs"]

    run(body())


def test_without_accounting_a_vanished_job_has_ended(one, slurm, clock):
    async def body():
        spec = job(again=False)
        slurm.db_disabled = True
        view = await ended(one, slurm, clock, spec)
        assert (view.state, view.ending.code) == (JobState.FAILED, "ended")

    run(body())


def test_a_job_that_nobody_knows_any_more_leaves_the_answer(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await ended(one, slurm, clock, spec, told=False)
        clock.now += LOST_SECONDS - 1
        assert not (await one.poll())[spec.attempt].state.final
        clock.now += 2
        assert spec.attempt not in await one.poll()

    run(body())


def test_a_hub_that_may_not_see_its_jobs_says_so_and_concludes_nothing(one, slurm, clock):
    async def body():
        spec = job(again=False)
        slurm.hide = True
        await one.submit(spec)
        assert (await one.poll())[spec.attempt].state is JobState.QUEUED
        clock.now += LATE_SECONDS + 1
        with pytest.raises(LauncherError, match="PrivateData") as caught:
            await one.poll()
        assert caught.value.transient

    run(body())


def test_a_job_that_slurmctld_lost_before_it_was_seen_does_not_stop_the_poll_of_the_others(one, slurm, clock):
    """slurmctld was killed before it saved the job. It shows jobs of others, so nothing is hidden from the hub."""

    async def body():
        lost, other = job(again=False), job(user="bob", again=False)
        await one.submit(lost)
        del slurm.rows[1]
        await one.submit(other)
        for _ in range(4):
            assert not (await one.poll())[other.attempt].state.final
            clock.now += LOST_SECONDS / 3 + 1
        assert set(await one.poll()) == {other.attempt}

    run(body())


def test_a_job_whose_id_another_one_has_is_gone_at_once(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        await one.poll()
        slurm.step(1, "RUNNING", name="my-own", comment="")
        assert spec.attempt not in await one.poll()
        assert slurm.canceled == []

    run(body())


def test_a_cancel_names_the_job_so_that_another_one_with_its_id_lives(one, slurm, clock):
    async def body():
        spec = job(again=False)
        ref = await one.submit(spec)
        slurm.step(1, "RUNNING", name="my-own", comment="")
        await one.cancel(ref, spec.attempt)
        assert slurm.canceled == []

    run(body())


def test_why_a_run_ended_is_not_taken_from_another_job_of_the_same_id(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "RUNNING", started=clock.now)
        await one.poll()
        facts = {"submitted": clock.now, "started": clock.now, "ended": clock.now + 1}
        slurm.runs.append(Past(id=1, user="alice", name="my-own", state="NODE_FAIL", facts=None, **facts))
        clock.now += 2
        slurm.step(1, "PENDING", restarts=1, started=None)
        assert (await one.poll())[spec.attempt].ending is None

    run(body())


def test_a_poll_without_slurmctld_raises(one, slurm):
    slurm.down = True
    with pytest.raises(LauncherError) as caught:
        run(one.poll())
    assert caught.value.transient


def test_a_requeued_job_waits_again(one, slurm, clock):
    async def body():
        spec = job(again=False)
        view = await ended(one, slurm, clock, spec, "NODE_FAIL", forget=False)
        assert view.state is JobState.FAILED
        slurm.step(1, "PENDING", reason="BeginTime", restarts=1, started=None, ends=None)
        assert (await one.poll())[spec.attempt].state is JobState.QUEUED

    run(body())


async def requeued(one, slurm, clock):
    """Return a job that ran, and waits again."""
    spec = job(again=False)
    await one.submit(spec)
    slurm.step(1, "RUNNING", started=clock(), node="cn1")
    await one.poll()
    slurm.step(1, "COMPLETING", restarts=1)  # its run ends, and the next is counted
    view = (await one.poll())[spec.attempt]
    assert (view.state, view.restarts) == (JobState.ACTIVE, 0)
    slurm.step(1, "PENDING", reason="BeginTime", restarts=1, started=None, ends=None, node="")
    began = clock.now

    def over(state):
        times = {"submitted": began, "started": began, "ended": began + 1}
        slurm.runs.append(Past(id=1, user="alice", name=f"towpath-{spec.attempt}", state=state, **times))

    return spec, over


def test_a_requeued_job_shows_why_its_last_run_ended(one, slurm, clock):
    async def body():
        spec, over = await requeued(one, slurm, clock)
        over("PREEMPTED")
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.ending.code) == (JobState.QUEUED, "preempted")
        assert (await one.poll())[spec.attempt].state is JobState.QUEUED
        assert slurm.calls.count("runs") == 1

    run(body())


def test_a_run_that_is_not_written_down_yet_is_waited_for_a_little(one, slurm, clock):
    async def body():
        spec, over = await requeued(one, slurm, clock)
        assert (await one.poll())[spec.attempt].state is JobState.ACTIVE
        over("REQUEUED")
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.ending.code, view.restarts) == (JobState.QUEUED, "requeued", 1)

    run(body())


@pytest.mark.parametrize("away", ["late", "db_down", "db_disabled"])
def test_a_job_that_waits_again_is_shown_so_whether_or_not_it_is_known_why(one, slurm, clock, away):
    async def body():
        spec, _ = await requeued(one, slurm, clock)
        if away == "late":
            await one.poll()
            clock.now += AGAIN_SECONDS
        else:
            setattr(slurm, away, True)
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.ending) == (JobState.QUEUED, None)

    run(body())


def test_a_job_that_is_submitted_during_a_poll_is_not_missed(one, slurm, clock):
    async def body():
        await one.poll()
        spec, real = job(again=False), slurm.jobs

        async def slow(name=""):
            rows = await real(name)
            await one.submit(spec)
            return rows

        slurm.jobs = slow
        assert (await one.poll())[spec.attempt].state is JobState.QUEUED
        slurm.jobs = real
        clock.now += 10 * LOST_SECONDS
        assert (await one.poll())[spec.attempt].state is JobState.QUEUED

    run(body())


# --- whose a job is


def test_another_hubs_job_is_not_ours(slurm, clock):
    async def body():
        other = make(slurm, clock)
        other._key = b"x" * 32
        spec = job(again=False)
        await other.submit(spec)
        ours = make(slurm, clock)
        assert await ours.poll() == {}
        slurm.end(1, "COMPLETED")
        assert await make(slurm, clock).poll() == {}

    run(body())


def test_a_copy_in_somebody_elses_job_is_nobodys(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "RUNNING", started=clock.now)
        text = slurm.rows[1].comment
        slurm.forge(1, user="mallory", state="FAILED")
        slurm.forge(1, user="mallory", comment=text.replace("alice/", "mallory/"), submitted=0.0)
        slurm.forge(1, user="mallory", comment="", submitted=0.0)
        view = (await one.poll())[spec.attempt]
        assert (view.native_id, view.user, view.state) == ("1", "alice", JobState.ACTIVE)
        assert slurm.canceled == []

    run(body())


def test_a_name_that_the_directory_service_does_not_tell_for_a_while_is_no_loss(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "RUNNING", user="1001", started=clock.now)
        assert (await one.poll())[spec.attempt].state is JobState.ACTIVE

    run(body())


def test_a_cancel_checks_the_jobs_name_and_not_only_its_id(one, slurm, clock):
    async def body():
        specs = [job(again=False) for _ in range(2)]
        refs = [await one.submit(spec) for spec in specs]
        await make(slurm, clock).cancel(refs[0], specs[1].attempt)
        assert slurm.canceled == [2]

    run(body())


# --- what is shown


def test_a_waiting_job_shows_its_reason_and_its_place(one, slurm, clock):
    async def body():
        specs = [job(again=False) for _ in range(3)]
        for spec in specs:
            await one.submit(spec)
        slurm.step(3, "PENDING", priority=500, reason="Resources")
        slurm.step(1, "PENDING", priority=0, reason="JobHeldUser")
        views = await one.poll()
        waits = [views[spec.attempt].waiting for spec in specs]
        assert [(wait.position, wait.of) for wait in waits] == [(None, None), (2, 2), (1, 2)]
        assert waits[2].code == "Resources"

    run(body())


@pytest.mark.parametrize("word", ["RUNNING", "SIGNALING", "RESIZING"])
def test_a_running_job_has_a_node_a_begin_and_an_end(one, slurm, clock, word):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, word, node="cn1", started=clock.now, ends=clock.now + 3600)
        view = (await one.poll())[spec.attempt]
        assert (view.node, view.started, view.deadline) == ("cn1", clock.now, clock.now + 3600)
        assert view.waiting is None

    run(body())


def test_when_a_job_that_completes_did_end_is_no_deadline(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "COMPLETING", node="cn1", started=clock.now - 60, ends=clock.now)
        view = (await one.poll())[spec.attempt]
        assert (view.state, view.deadline) == (JobState.ACTIVE, None)

    run(body())


def test_an_estimate_is_no_deadline(one, slurm, clock):
    async def body():
        spec = job(again=False)
        await one.submit(spec)
        slurm.step(1, "PENDING", expected=clock.now + 60, ends=None)
        view = (await one.poll())[spec.attempt]
        assert view.deadline is None
        assert view.started is None
        assert view.waiting.start is not None

    run(body())


def test_a_user_without_an_account_is_refused_before_anything_is_asked(one, slurm, monkeypatch):
    def nobody(user, *, min_uid):
        raise LauncherError("no account", transient=False)

    monkeypatch.setattr(module, "identity_of", nobody)
    with pytest.raises(LauncherError):
        run(one.submit(job(again=False)))
    assert slurm.calls == []
