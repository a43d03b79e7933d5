"""One app from the folder to its end: start it, wait until it answers, report, watch it, report the end."""

import _signal
import os
import time

from batch.starter.app import AdoptedApp, App
from batch.starter.app_address import AppAddress
from batch.starter.app_log import MAX_BYTES, AppLog
from batch.starter.command import SETUP_FAILURE
from batch.starter.errors import StartError
from batch.starter.hub_client import tls_context
from batch.starter.job_folder import JobFolder
from batch.starter.launch import CANCELLED, launch, wait_until_it_answers
from batch.starter.memory import MemoryKills
from batch.starter.notices import Notices
from batch.starter.outbox import Outbox
from batch.starter.reporter import NOT_RECEIVED, STOP, Reporter
from batch.starter.upkeep import Upkeep
from batch.starter.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from batch.starter.helper import Helper
    from batch.starter.jupyter_activity import JupyterActivity
    from batch.starter.ssh_server import SshServer
    from batch.starter.way_in import WayIn

PORT_TRIES = 3
UNKNOWN_END = "The app ended. How is not known, because the process that had started it was killed before."


class Starter:
    """See the module. With `adopt` in the specification it takes over an app that an earlier starter has started."""

    app_class = App

    def __init__(self, spec: "dict[str, Any]") -> None:
        self.spec = spec
        self.folder = JobFolder(spec["folder"], spec["attempt"])
        self.wakeup = Wakeup()
        adopted = spec.get("adopt")
        grace = spec["grace"]
        self.app = AdoptedApp(grace, adopted["pid"], adopted["start"]) if adopted else self.app_class(grace)
        self.log = AppLog(spec.get("log_cap", MAX_BYTES), os.environ.get("SLURM_JOB_ID", ""))
        self.reporter = Reporter(spec)
        self.address = AppAddress(spec, self.folder, self.log.note, self.wakeup.leave_signals)
        self.way_in: "WayIn | None" = None
        self.ssh: "SshServer | None" = None
        self.messenger = 0
        self.warned = False
        self.hub_said_stop = False
        self.memory = MemoryKills(spec["attempt"], os.environ)
        self.notices = Notices(self.reporter, self.folder, self.log, self.memory)

    # --- the sequence

    def run(self) -> int:
        """Start, report, wait, report the end; the exit code of the job."""
        try:
            return self.carry_out()
        finally:
            self.folder.spare.tidy_up()

    def carry_out(self) -> int:
        """The sequence, without the tidying up."""
        self.wakeup.take_signals(self.on_end_signal, self.on_warning)
        try:
            self.folder.make()
            self.note_job()
            self.log.open(self.folder.log_folders())
            if not self.folder.spare.is_made:  # what is in that one is removed at the end
                self.reporter.log_path = self.log.path
            if self.spec.get("adopt"):
                self.take_over()
            else:
                if os.environ.get(SETUP_FAILURE):
                    raise StartError("setup", os.environ[SETUP_FAILURE])
                self.come_up()
            if self.address.is_served() and self.way_in is None and not self.app.ended:
                self.open_way_in()
        except StartError as error:
            self.app.end(self.sleep)
            if self.app.stop_signal:
                self.report_end("ended", "", CANCELLED)
            else:
                self.report_end("failed", *(self.memory.end_of(self.app) or (error.code, str(error), error.hint)))
            return self.app.exit_code or 1
        except OSError as error:
            self.app.end(self.sleep)
            self.report_end("failed", "folder", "The job's folder cannot be used: %s." % error)
            return 1
        if not self.app.ended:
            self.stand_by()
        self.report_end("ended", *self.unusual_end())
        for helper in self.helpers():
            helper.close()
        return self.app.exit_code or 0

    def come_up(self) -> None:
        """Start the app and wait until it accepts requests. If another process took its port, choose another one."""
        for _ in range(PORT_TRIES):
            self.address.choose()
            if self.spec.get("jupyter"):
                from batch.starter.jupyter_config import write

                write(self.folder, self.spec["environment"], self.spec["jupyter"])
            launch(self.app, self.address, self.spec.get("directory") or "/", self.log.fd, self.sleep)
            self.note_job()
            if self.app.stop_signal:
                self.app.signal(self.app.stop_signal)
            if self.spec.get("repeat") and not self.messenger:
                self.send_running()
            self.open_ssh()  # while the app loads what it needs, as the following
            if self.spec.get("passport"):
                tls_context(self.reporter.authority)  # loads ssl
                if self.address.is_served() and self.address.endpoint["kind"] == "unix" and self.way_in is None:
                    self.open_way_in()  # not for a port: it may yet be given up
            if wait_until_it_answers(self.app, self.address, self.spec, self.sleep):
                return
            self.app.end(self.sleep)
            self.app.forget()
        raise StartError("port", "Other programs took each of the ports that were picked for the app.")

    def take_over(self) -> None:
        """Serve an app that runs already, and wait until it answers, if it has not yet."""
        self.log.note("The process that watches the app was killed. Another one has taken over; the app keeps running.")
        if self.spec.get("give_up"):
            raise StartError("starter", "The process that watches the app was killed again and again.")
        if self.app.has_ended():
            return
        try:
            self.address.adopt(self.app.pid)
        except (StartError, OSError):
            if self.app.has_ended():
                return
            raise
        self.open_ssh()
        if self.address.is_served():
            self.open_way_in()
        try:
            wait_until_it_answers(self.app, self.address, self.spec, self.sleep)
        except StartError as error:
            if error.code != "exited":  # whether it had answered before is not known: it ended
                raise

    def stand_by(self) -> None:
        """Watch the app until it ends.

        Meanwhile report ready until the hub has received it (and repeatedly, if requested), pass on warnings, and limit
        the size of the log.
        """
        more = {"endpoint": self.address.for_gateways(self.way_in, self.ssh)}
        more.update(self.reporter.end_time())
        ready = self.reporter.build("ready", more)
        self.folder.write_report(ready)
        outbox = Outbox(self.reporter, self.send, ready, self.spec.get("repeat") or 0)
        if self.spec.get("adopt"):
            outbox.put(self.notices.build("taken-over"))
        if self.ssh and self.ssh.fault:
            outbox.put(self.notices.build("no-ssh", self.ssh.fault[:300]))
        activity = self.watch_activity()
        upkeep = Upkeep(self.spec, self.folder, self.log, self.notices)
        while not self.app.has_ended():
            now = time.monotonic()
            if self.warned:
                outbox.put(self.warn())
                outbox.end_pause()
            for report in upkeep.reports(now):
                outbox.put(report)
            seen = None if activity is None else activity.look(now)
            if seen is not None:
                outbox.put_latest(self.reporter.build("activity", {"last_activity": seen}))
            if not outbox.step(now):
                looks = [upkeep.next_look] if activity is None else [upkeep.next_look, activity.next_look]
                restarts = [helper.restart_at for helper in self.helpers() if helper.restart_at]
                self.sleep(max(0.0, min([*looks, *outbox.times(), *restarts]) - now))
        self.app.sweep()

    # --- reports

    def send(self, report: str) -> bool:
        """Whether the report need not be sent again; does what the hub answers."""
        answer = self.reporter.send(report)
        if answer == STOP:
            self.hub_said_stop = True
            self.app.begin_stop(_signal.SIGTERM)
        return answer != NOT_RECEIVED

    def report_end(self, kind: str, code: str, message: str, hint: str = "") -> None:
        """Write the end down, and report it for as long as the job may be held for that."""
        secrets = [self.spec["report_token"], *self.spec.get("secrets", [])]
        more = {"exit_code": self.app.exit_code, "log_tail": self.log.tail(secrets)}
        if self.app.stop_signal and not self.hub_said_stop:
            more["told"] = True  # by the scheduler: it may mean to run the job again, and knows why
        if code:
            more["code"] = code
        if message:
            more["message"] = message[:900]
        if hint:
            more["hint"] = hint
        report = self.reporter.build(kind, more)
        self.folder.write_report(report)
        self.reporter.reset_back_off()
        limit = time.monotonic() + self.spec.get("end_patience", 20)
        while not self.send(report):
            pause = self.reporter.back_off()
            if time.monotonic() + pause > limit:
                return
            self.sleep(pause)

    def unusual_end(self) -> "tuple[str, str, str]":
        """Code, message and hint of an end that the exit code alone does not tell."""
        if self.app.exit_code is None:
            return "app-died", UNKNOWN_END, ""
        return self.memory.end_of(self.app) or ("", "", "")

    def send_running(self) -> None:
        """Report that the job runs, once and from a process of its own: a slow hub must not delay the app."""
        report = self.reporter.running()
        pid = os.fork()
        if pid == 0:
            try:
                self.wakeup.leave_signals()
                self.app.pid = 0  # which is not ours to end, whatever the hub answers
                self.send(report)
            finally:
                os._exit(0)
        self.messenger = pid

    def watch_activity(self) -> "JupyterActivity | None":
        """What asks a stock Jupyter server what its user does; None: it is another app."""
        if not self.spec.get("jupyter"):
            return None
        from batch.starter.jupyter_activity import JupyterActivity

        return JupyterActivity(self.spec, self.address.endpoint)

    def note_job(self) -> None:
        """Write down who runs the job."""
        self.folder.note_job(self.spec.get("watcher") or os.getpid(), self.app.pid, self.spec.get("takeover", 0))

    def warn(self) -> str:
        """The time limit is near: tell the log, the app where it wants to know, and the hub (the report)."""
        self.warned = False
        seconds = self.reporter.seconds_left()
        self.log.note("The job's time is over in about %d seconds." % seconds)
        number = getattr(_signal, "SIG" + (self.spec.get("warning_signal") or ""), None)
        if number:
            self.app.signal(number)
        return self.reporter.build("warning", {"seconds": seconds})

    # --- helpers and signals

    def open_ssh(self) -> None:
        """Serve SSH, if the profile allows it. Where the node cannot, the app runs all the same."""
        if self.spec.get("ssh") and not self.ssh:
            from batch.starter.ssh_server import SshServer

            self.ssh = SshServer(self.folder, self.log.note, self.wakeup.leave_signals).open(self.spec)

    def open_way_in(self) -> None:
        """Listen for the gateway on the node's own address, or connect to it. Raises StartError."""
        from batch.starter.way_in import ReverseWayIn, WayIn

        kind = ReverseWayIn if self.spec.get("way_in") == "reverse" else WayIn
        way_in = kind(self.spec, self.log.note, self.wakeup.leave_signals)
        way_in.open(self.address.endpoint, self.ssh.path if self.ssh else "")
        self.way_in = way_in

    def helpers(self) -> "list[Helper]":
        """The processes that serve the app."""
        return [*self.address.helpers(), *(one.helper for one in (self.way_in, self.ssh) if one)]

    def look_after_helpers(self, now: float) -> None:
        """Reap our other children."""
        if self.messenger > 0 and os.waitpid(self.messenger, os.WNOHANG)[0]:
            self.messenger = -1
        for helper in self.helpers():
            helper.look(now)

    def on_end_signal(self, number: int, frame: "FrameType | None") -> None:
        """The job is to end: so is the app."""
        self.app.begin_stop(_signal.SIGTERM if number == _signal.SIGHUP else number)

    def on_warning(self, number: int, frame: "FrameType | None") -> None:
        """The scheduler says that the time limit is near."""
        self.warned = True

    def sleep(self, seconds: float) -> None:
        """Wait for a signal or the time; look after the helpers and the app."""
        longest = self.app.longest_sleep
        if self.app.stop_since is not None and not self.app.killed:
            longest = min(longest, 0.2)
        self.wakeup.wait(min(seconds, longest))
        self.look_after_helpers(time.monotonic())
        self.app.has_ended()
