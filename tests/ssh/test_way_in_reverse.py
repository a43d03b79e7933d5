"""Servers on SSH hosts that connect to the hub: nothing listens on the host, and a killed starter changes nothing."""

import contextlib
import os
import signal
from pathlib import Path

from tests.hub import eventually
from tests.ssh.ssh_hub import SshHub, short


def test_a_server_on_a_host_is_reached_and_again_by_its_next_starter(pool, short_folder):
    hub = SshHub(short(short_folder), pool, workers=2, cluster='way_in = "reverse"')
    try:
        hub.start()
        with contextlib.closing(hub.as_user("alice")) as api:
            assert hub.start_one(api, "alice", profile="stub", host="gpu1", memory="512M").status_code in (201, 202)
            hub.until(api, "alice", status="ready")
            with contextlib.closing(hub.browser_of("alice")) as alice:

                def pid():
                    answer = alice.get("/user/alice/hello")
                    return answer.json()["pid"] if answer.status_code == 200 else 0

                app = eventually(pid, what="the app's answer")
                starter = int(Path(f"/proc/{app}/stat").read_text().rsplit(")", 1)[1].split()[1])
                os.kill(starter, signal.SIGKILL)
                eventually(lambda: pid() == app, what="the app's answer")
            assert api.delete("/users/alice/server").status_code in (202, 204)
            hub.until(api, "alice", status="stopped")
    finally:
        hub.stop()
