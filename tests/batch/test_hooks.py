"""Hooks of a real controller: real processes before a submit, when a server is ready, and after its end."""

import json
import sys
import time
from pathlib import Path

import pytest

from batch.contract import JobSpec, Resources
from batch.contract_suite.jobs import job_spec
from batch.controller.reconcile import RunHooks, Settle, Sight, reconcile
from batch.hooks.contract import JobChanges, changed
from batch.hooks.executables import ExecutablesOptions, programs
from state.records.models import Status
from state.store import codecs
from state.store.auth_states import AuthStateError
from tests.batch.rig import Rig, ask, fresh
from tests.batch.test_controller import becomes, stop, with_store
from tests.conftest import until
from tests.newer import by_a_newer_version

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "a-very-secret-access-token"


class HookRig(Rig):
    """A controller with programs in a folder of hooks."""

    def __init__(self, folder, url, *, timeout=30, more=""):
        super().__init__(folder, url)
        self.folder = folder
        self.hooks = folder / "hooks"
        self.out = folder / "out"
        self.out.mkdir()
        text = self.config.read_text()
        self.config.write_text(
            f'{text}\n[auth]\nauth_state_key = "{SECRET}"\nallowed_users = ["alice"]\n[[auth.provider]]\nname = "test"\nkind = "test"\nauth_state = true\n'
            f'[[hook]]\nkind = "executables"\ntimeout = {timeout}\n{more}\n[hook.executables]\nfolder = "{self.hooks}"\n'
        )
        self.config.write_text(
            self.config.read_text().replace('kind = "local"\n', 'kind = "local"\nisolation = "none"\n')
        )

    def program(self, event, name, text, *, mode=0o755):
        path = self.hooks / event / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


@pytest.fixture
def make_rig(short_folder, store_url):
    made = []

    def make(**options):
        folder = short_folder / f"hooks{len(list(short_folder.iterdir()))}"
        folder.mkdir()
        made.append(HookRig(folder, store_url, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def alive(path):
    """Whether the process whose id is in the file runs."""
    return Path(f"/proc/{path.read_text().strip()}").exists()


def test_a_hook_creates_a_home_before_and_receives_the_end_after(make_rig):
    rig = make_rig()
    rig.program("before-submit", "10-home", f'#!/bin/sh\nmkdir -p "{rig.out}/home-$TOWPATH_USER"\n')
    rig.program("ready", "10-told", f'#!/bin/sh\necho "$TOWPATH_JOB" > "{rig.out}/ready"\n')
    rig.program(
        "ended", "10-told", f'#!/bin/sh\ncat > "{rig.out}/ended.new"\nmv "{rig.out}/ended.new" "{rig.out}/ended"\n'
    )
    rig.program("before-submit", ".hidden", "#!/bin/sh\nexit 1\n")
    rig.program("before-submit", "backup~", "#!/bin/sh\nexit 1\n")
    rig.program("before-submit", "README", "not executable", mode=0o644)

    async def body(store):
        rig.start()
        await ask(store, fresh())
        ready = await becomes(store, Status.READY)
        assert (rig.out / "home-alice").is_dir()
        await until((rig.out / "ready").exists)
        await until((rig.out / "ready").read_text)
        assert (rig.out / "ready").read_text().strip() == ready.job.native_id
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until((rig.out / "ended").exists)
        event = json.loads((rig.out / "ended").read_text())
        assert (event["event"], event["user"], event["attempt"]) == ("ended", "alice", ready.attempt)
        assert event["status"] == "stopped"

        async def noted():
            return (await store.servers.get("alice", "")).hooked == "ended"

        await until(noted)

    with_store(rig.url, body)


def test_a_record_of_a_newer_version_goes_through_start_hooks_and_end(make_rig):
    rig = make_rig()
    for event in ("before-submit", "ready", "ended"):
        rig.program(
            event,
            "10-told",
            f'#!/bin/sh\ncat > "{rig.out}/{event}.new"\nmv "{rig.out}/{event}.new" "{rig.out}/{event}"\n',
        )

    async def body(store):
        await ask(store, by_a_newer_version(fresh(), lane="fast"))
        rig.start()
        ready = await becomes(store, Status.READY)
        await until((rig.out / "ready").exists)
        await stop(store)
        stopped = await becomes(store, Status.STOPPED)
        await until((rig.out / "ended").exists)
        for event in ("before-submit", "ready", "ended"):
            told = json.loads((rig.out / event).read_text())
            assert (told["event"], told["attempt"], told["version"]) == (event, ready.attempt, 1)
        for record in (ready, stopped):
            assert json.loads(codecs.SERVER.encode(record))["lane"] == "fast"

    with_store(rig.url, body)


CHANGE = f"""#!{sys.executable}
import json, sys
event = json.load(sys.stdin)
assert event["event"] == "before-submit" and event["version"] == 1
assert "JUPYTER_TOKEN" not in event["job"]["environment"] and "report_token" not in event["job"]
token = (event["auth_state"] or {{}}).get("access_token")
json.dump({{"job": {{"environment": {{"SITE_TOKEN": token, "SITE": "here"}}}}}}, sys.stdout)
"""
SECOND = f"""#!{sys.executable}
import json, sys
event = json.load(sys.stdin)
json.dump({{"job": {{"environment": {{"SEEN": "the last one"}}}}}}, sys.stdout)
"""


def test_a_token_is_handed_over_to_the_job_and_is_a_secret_of_it(make_rig):
    rig = make_rig(more="auth_state = true")
    rig.program("before-submit", "10-token", CHANGE)
    rig.program("before-submit", "20-more", SECOND)

    async def body(store):
        await store.auth_states.put("alice", {"access_token": TOKEN}, secret=SECRET)
        rig.start()
        await ask(store, fresh())
        ready = await becomes(store, Status.READY)
        (pid, *_) = rig.pids(ready.attempt)
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"SITE_TOKEN={TOKEN}".encode() in variables
        assert b"SITE=here" in variables
        assert b"SEEN=the last one" in variables
        assert TOKEN in json.loads((rig.data_dir / "jobs" / ready.attempt / "spec.json").read_text())["secrets"]

    with_store(rig.url, body)
    assert TOKEN not in rig.log.read_text()


def test_a_refusal_is_the_users_sentence_and_no_job_is_submitted(make_rig):
    rig = make_rig()
    answer = '{"refuse": "Your allocation chem-17 is used up.", "hint": "Ask for more."}'
    rig.program("before-submit", "10-allocation", f"#!/bin/sh\necho '{answer}'\n")
    rig.program("before-submit", "20-never", f"#!/bin/sh\ntouch {rig.out}/never\n")
    rig.program("ended", "10-told", f"#!/bin/sh\ntouch {rig.out}/ended\n")

    async def body(store):
        rig.start()
        await ask(store, fresh())
        failed = await becomes(store, Status.FAILED)
        assert (failed.reason.code, failed.reason.message) == ("refused", "Your allocation chem-17 is used up.")
        assert failed.reason.hint == "Ask for more."
        await until((rig.out / "ended").exists)  # what an earlier hook made is cleaned up
        assert not rig.jobs()
        assert not (rig.out / "never").exists()

    with_store(rig.url, body)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("#!/bin/sh\necho no quota file >&2\nexit 3\n", "it ended with exit code 3 stderr='no quota file'"),
        ("#!/bin/sh\nkill -KILL $$\n", "it was killed by SIGKILL"),
        ("#!/bin/sh\necho nonsense\n", "its answer is not what docs/plug-ins.md describes"),
        ('#!/bin/sh\necho \'{"job": {"resources": {"coers": 3}}}\'\n', "resources has no field coers"),
        ('#!/bin/sh\necho \'{"job": {"resources": {"cores": "many"}}}\'\n', "Expected `int | null`"),
        ("#!/nowhere/sh\n", "it cannot be started"),
        ("#!/bin/sh\nhead -c 2000000 /dev/zero\n", "it printed more than 1048576 bytes"),
    ],
)
def test_a_hook_that_fails_starts_nothing_and_the_log_says_why(make_rig, program, why):
    rig = make_rig()
    rig.program("before-submit", "10-broken", program)

    async def body(store):
        rig.start()
        await ask(store, fresh())
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "hook"
        assert "hook 'executables' failed" in failed.reason.message
        assert not rig.jobs()

    with_store(rig.url, body)
    assert "A hook failed. hook=executables event=before-submit server=alice/ attempt=" in rig.log.read_text()
    assert " job=- why=" in rig.log.read_text()
    assert why in rig.log.read_text()


HANG = """#!/bin/sh
echo $$ > {out}/parent
sleep 1000 &
echo $! > {out}/child
touch {out}/up
wait
"""


def test_a_hook_that_hangs_is_killed_with_its_children_and_holds_up_no_other_server(make_rig):
    rig = make_rig(timeout=4)
    rig.program(
        "before-submit",
        "10-hang",
        HANG.format(out=rig.out).replace("#!/bin/sh\n", '#!/bin/sh\n[ "$TOWPATH_SERVER" = fine ] && exit 0\n'),
    )

    async def body(store):
        rig.start()
        await ask(store, fresh())
        await until((rig.out / "up").exists)
        assert alive(rig.out / "parent")
        await ask(store, fresh(name="fine"))
        await becomes(store, Status.READY, name="fine")
        failed = await becomes(store, Status.FAILED)
        assert failed.reason.code == "hook"
        await until(lambda: not alive(rig.out / "parent") and not alive(rig.out / "child"))

    with_store(rig.url, body)
    assert "it did not end within 4 s and was killed" in rig.log.read_text()


def test_a_stop_ends_a_hook_that_hangs(make_rig):
    rig = make_rig(timeout=600)
    rig.program("before-submit", "10-hang", HANG.format(out=rig.out))

    async def body(store):
        rig.start()
        await ask(store, fresh())
        await until((rig.out / "up").exists)
        await stop(store)
        await becomes(store, Status.STOPPED)
        await until(lambda: not alive(rig.out / "parent") and not alive(rig.out / "child"))
        assert not list((rig.data_dir / "jobs").glob("*/spec.json"))  # a cancel leaves a mark

    with_store(rig.url, body)


def test_a_hook_that_is_not_required_stops_nobody(make_rig):
    rig = make_rig(more="required = false")
    rig.program("before-submit", "10-broken", "#!/bin/sh\nexit 1\n")
    rig.program("ready", "10-broken", "#!/bin/sh\nexit 1\n")

    async def body(store):
        rig.start()
        await ask(store, fresh())
        await becomes(store, Status.READY)

        async def noted():
            return (await store.servers.get("alice", "")).hooked == "ready"

        await until(noted)  # a failure of these is logged, and not repeated

    with_store(rig.url, body)
    assert "event=ready" in rig.log.read_text()


def test_the_hooks_of_an_end_run_again_after_a_crash_of_the_controller(make_rig):
    rig = make_rig()
    rig.program("ended", "10-told", f"#!/bin/sh\necho once >> {rig.out}/ended\n")

    async def body(store):
        first = rig.start(fault="after-hooks")  # dies before it notes that they have run
        await ask(store, fresh())
        await until(lambda: first.poll() is not None)
        second = rig.start()
        await becomes(store, Status.READY)
        await until_hooked(store, "ready")
        second.terminate()
        await until(lambda: second.poll() is not None)
        third = rig.start(fault="after-hooks")
        await stop(store)
        await until(lambda: third.poll() is not None)
        assert (rig.out / "ended").read_text() == "once\n"
        rig.start()
        await until_hooked(store, "ended")
        assert (rig.out / "ended").read_text() == "once\nonce\n"

    with_store(rig.url, body)


async def until_hooked(store, event):
    async def noted():
        return (await store.servers.get("alice", "")).hooked == event

    await until(noted)


def test_a_program_that_others_can_change_is_refused(tmp_path):
    folder = tmp_path / "ready"
    folder.mkdir(mode=0o755)
    path = folder / "10-x"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o775)
    with pytest.raises(PermissionError, match="chmod go-w"):
        programs(ExecutablesOptions(folder=str(tmp_path)), "ready")
    path.chmod(0o755)
    assert programs(ExecutablesOptions(folder=str(tmp_path)), "ready") == [(str(path),)]
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        programs(ExecutablesOptions(folder=str(tmp_path)), "ready")
    assert programs(ExecutablesOptions(folder=str(tmp_path)), "ended") == []


def test_changes_touch_only_what_they_name():
    spec = job_spec("", resources=Resources(cores=2, walltime=60), environment={"A": "1", "B": "2"})
    changes = JobChanges(environment={"A": None, "C": "3"}, resources={"account": "chem"}, directory="/scratch")
    after = changed(spec, changes)
    assert after.environment == {"B": "2", "C": "3"}
    assert after.resources == Resources(cores=2, walltime=60, account="chem")
    assert (after.directory, after.command) == ("/scratch", spec.command)
    assert isinstance(after, JobSpec)


def test_hooks_of_an_end_come_before_the_server_is_settled():
    from msgspec.structs import replace

    server = replace(fresh(), status=Status.STOPPED, ended=1.0, hooked="begun")
    actions = reconcile(server, Sight(fresh=True), now=time.time(), window=10)
    assert actions[-2:] == [RunHooks("ended"), Settle()]
    for hooked in ("", "ended"):
        assert RunHooks("ended") not in reconcile(replace(server, hooked=hooked), Sight(fresh=True), now=0.0, window=10)


def test_data_of_a_sign_in_is_encrypted_and_removed_with_the_user(store_url):
    from state.records.models import User

    async def body(store):
        await store.users.add(User(name="alice", created=1.0))
        await store.auth_states.put("alice", {"access_token": TOKEN}, secret=SECRET)
        raw = await store.redis.call("GET", "towpath:{u:alice}:auth-state")
        assert TOKEN.encode() not in raw
        assert await store.auth_states.get("alice", secret=SECRET) == {"access_token": TOKEN}
        with pytest.raises(AuthStateError):
            await store.auth_states.get("alice", secret=SECRET[::-1])
        await store.redis.call("SET", "towpath:{u:bob}:auth-state", raw)  # another user's is not taken for bob's
        with pytest.raises(AuthStateError):
            await store.auth_states.get("bob", secret=SECRET)
        await store.users.remove("alice")
        assert await store.auth_states.get("alice", secret=SECRET) is None

    with_store(store_url, body)
