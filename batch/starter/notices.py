"""What the user should know while the app runs. Each fact is reported once."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batch.starter.app_log import AppLog
    from batch.starter.job_folder import JobFolder
    from batch.starter.memory import MemoryKills
    from batch.starter.reporter import Reporter

MAX_DETAIL = 300


class Notices:
    """The notices of one job."""

    def __init__(self, reporter: "Reporter", folder: "JobFolder", log: "AppLog", memory: "MemoryKills") -> None:
        self.reporter = reporter
        self.folder = folder
        self.log = log
        self.memory = memory
        self.reported_faults: "set[str]" = set()

    def build(self, code: str, detail: str = "") -> str:
        """Return the report of one notice."""
        return self.reporter.build("notice", {"code": code, "detail": detail[:MAX_DETAIL]})

    def new_faults(self) -> "list[str]":
        """Return reports on writes that have failed since the last call; each place is reported once."""
        reports = []
        for what, owner in (("folder", self.folder), ("log", self.log)):
            if owner.fault is not None and what not in self.reported_faults:
                self.reported_faults.add(what)
                reports.append(self.build("cannot-write", "%s: %s" % (self.folder.path, owner.fault.strerror)))
        return reports

    def new_kills(self) -> "list[str]":
        """Return the report on processes that were killed for memory since the last call."""
        news = self.memory.news()
        if not news:
            return []
        self.log.note("A process of this job was killed because the job ran out of memory (%s)." % news)
        return [self.build("killed-for-memory", news)]
