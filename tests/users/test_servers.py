"""Servers of several users on one machine, through a whole hub: whose they are, how they end, and what goes wrong."""

import os
import pwd
import signal
from pathlib import Path

import pytest

from deploy.devcluster.users import RESTD
from tests.batch.launchers.local.making import HOMES, NODE, jobs_of
from tests.batch.rig import by_attempt
from tests.hub import eventually
from tests.users.users_hub import HOMELESS, UsersHub, short

USERS = ("alice", "bob", "carol")


def stop(hub, api, user):
    assert api.delete(f"/users/{user}/server").status_code in (202, 204)
    hub.until(api, user, status="stopped")


def test_each_server_runs_as_its_user_with_that_users_groups_and_home(hub):
    for user in USERS:
        with hub.user(user) as api:
            hub.start_one(api, user)
            hub.until(api, user, status="ready")
            eventually(lambda api=api, user=user: hub.server(api, user)["node"] == NODE, what="the name of the node")
            said = api.get(f"{hub.origin}/user/{user}/hello").json()
            entry = pwd.getpwnam(user)
            assert said["uid"] == entry.pw_uid
            app = Path(f"/proc/{said['pid']}")
            fields = dict(line.split(":", 1) for line in (app / "status").read_text().splitlines())
            assert fields["Uid"].split() == [str(entry.pw_uid)] * 4
            assert fields["Gid"].split() == [str(entry.pw_gid)] * 4
            assert set(map(int, fields["Groups"].split())) == set(os.getgrouplist(user, entry.pw_gid))
            assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
            assert (app / "cwd").readlink() == HOMES / user
            environment = dict(
                os.fsdecode(one).split("=", 1) for one in (app / "environ").read_bytes().split(b"\0") if one
            )
            assert (environment["HOME"], environment["USER"]) == (str(HOMES / user), user)
            (job,) = [path for path in jobs_of(user).iterdir() if path.name == environment["TOWPATH_ATTEMPT"]]
            assert (job.stat().st_mode & 0o777, job.stat().st_uid) == (0o700, entry.pw_uid)
            stop(hub, api, user)
            eventually(lambda attempt=job.name: not by_attempt().get(attempt), what="the end of the processes")


@pytest.mark.parametrize(("user", "words"), [("zoe", "no account named zoe"), (RESTD, "is a system account")])
def test_users_without_an_account_and_system_accounts_get_a_message(hub, user, words):
    with hub.user(user) as api:
        hub.start_one(api, user)
        model = hub.until(api, user, status="failed")
        assert words in model["reason"]["message"]
        assert "Tell the hub's admins" in model["reason"]["hint"]

    def failure():  # it comes through a pipe, after the record was saved
        return next((line for line in hub.output if "A server failed." in line), None)

    line = eventually(failure, what="the line in the log")
    assert f"user={user}" in line
    assert words in line


CREATE_HOME = """#!/bin/sh
[ -e "{allow}" ] || exit 0
install -d -m 0700 -o "$TOWPATH_USER" -g "$TOWPATH_USER" "{homes}/$TOWPATH_USER"
"""


def test_a_missing_home_is_reported_and_a_hook_can_create_it(users, short_folder):
    folder = short(short_folder)
    program, allow = folder / "hooks" / "before-submit" / "10-home", folder / "allow"
    program.parent.mkdir(parents=True)
    program.write_text(CREATE_HOME.format(allow=allow, homes=HOMES))
    program.chmod(0o755)
    (HOMES / HOMELESS).rmdir()
    hub = UsersHub(folder, users, hooks=folder / "hooks")
    try:
        hub.start()
        with hub.user(HOMELESS) as api:
            hub.start_one(api, HOMELESS)
            model = hub.until(api, HOMELESS, status="failed")
            assert "home folder does not exist" in model["reason"]["message"]
            assert not (HOMES / HOMELESS).exists()
            allow.touch()
            hub.start_one(api, HOMELESS)
            hub.until(api, HOMELESS, status="ready")
            stop(hub, api, HOMELESS)
    finally:
        hub.close()


def test_a_starter_that_is_killed_is_replaced_and_the_app_is_reachable_again(hub):
    with hub.user("alice") as api:
        hub.start_one(api, "alice")
        hub.until(api, "alice", status="ready")
        before = api.get(f"{hub.origin}/user/alice/hello").json()
        starter = int(Path(f"/proc/{before['pid']}/stat").read_text().rsplit(")", 1)[1].split()[1])
        guard = int(Path(f"/proc/{starter}/stat").read_text().rsplit(")", 1)[1].split()[1])
        assert b"towpath-job" in Path(f"/proc/{guard}/cmdline").read_bytes().split(b"\0")
        os.kill(starter, signal.SIGKILL)

        def answers():
            answer = api.get(f"{hub.origin}/user/alice/hello")
            return answer.json() if answer.status_code == 200 else None

        eventually(lambda: not Path(f"/proc/{starter}").exists(), what="the end of the starter")
        assert eventually(answers, what="the app") == before | {"line": eventually(answers)["line"]}
        stop(hub, api, "alice")


def test_a_failed_app_is_reported_with_its_log(hub):
    with hub.user("alice") as api:
        hub.start_one(api, "alice", profile="exits")
        model = hub.until(api, "alice", status="failed")
        assert "the licence server is down" in str(model)
