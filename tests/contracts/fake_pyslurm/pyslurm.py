"""A strict fake of pyslurm: its names, its checks and its errors, on a cluster that is a file.

As pyslurm 25.11 has them (`pyslurm/core/job/submission.pyx`, `job.pyx`, `db/job.pyx`, `error.pyx`; the same names in
22.5.3): an attribute that it does not have is an error, and so is what slurmctld refuses. Jobs run in name only. Beside
FAKE_PYSLURM, the file, FAKE_PYSLURM_TRICK makes it behave as the real one may: `hang`, `die`, `noise`.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

__version__ = "25.11.2"

TRICK = os.environ.get("FAKE_PYSLURM_TRICK", "")
if TRICK == "die":
    os._exit(1)  # as libslurm does without a slurm.conf
if TRICK == "noise":
    print("this is not an answer")


class PyslurmError(Exception):
    """The base."""


TEXTS = {
    2000: "Invalid partition name specified",
    2017: "Invalid job id specified",
    2021: "Job/step already completing or completed",
    2045: "Invalid account or account/partition combination specified",
}


class RPCError(PyslurmError):
    """As the real one: `errno` and `msg`."""

    def __init__(self, errno=-1, msg=None):
        self.errno = errno
        self.msg = msg or TEXTS[errno]
        super().__init__(self.msg)


@contextlib.contextmanager
def _cluster():
    with Path(os.environ["FAKE_PYSLURM"]).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        jobs = json.loads(file.read() or "[]")
        yield jobs
        file.seek(0)
        file.truncate()
        json.dump(jobs, file)


class JobSubmitDescription:
    """Only the attributes that the real one has may be set."""

    __slots__ = (
        *("name", "account", "user_id", "group_id", "priority", "site_factor", "wckey", "array", "batch_constraints"),
        *("begin_time", "clusters", "cluster_constraints", "comment", "admin_comment", "requires_contiguous_nodes"),
        *("cores_reserved_for_system", "threads_reserved_for_system", "working_directory", "cpu_frequency", "nodes"),
        *("deadline", "delay_boot_time", "dependencies", "excluded_nodes", "required_nodes", "constraints"),
        *("kill_on_node_fail", "licenses", "mail_user", "mail_types", "mcs_label", "memory_per_cpu"),
        *("memory_per_node", "memory_per_gpu", "network", "nice", "log_files_open_mode", "overcommit", "partitions"),
        *("profile_types", "accounting_gather_frequency", "qos", "requires_node_reboot", "is_requeueable"),
        *("reservations", "script", "script_args", "environment", "resource_sharing", "distribution", "time_limit"),
        *("time_limit_min", "container", "cpus_per_task", "cpus_per_gpu", "sockets_per_node", "cores_per_socket"),
        *("threads_per_core", "gpus", "gpus_per_socket", "gpus_per_task", "gres_per_node", "gpu_binding", "ntasks"),
        *("ntasks_per_node", "ntasks_per_socket", "ntasks_per_core", "ntasks_per_gpu", "switches", "signal"),
        *("standard_in", "standard_output", "standard_error", "kill_on_invalid_dependency", "spreads_over_nodes"),
        *("use_min_nodes", "gres_binding", "temporary_disk_per_node", "get_user_environment", "min_cpus_per_node"),
        *("wait_all_nodes",),
    )

    def __init__(self, **given):
        for name, value in given.items():
            setattr(self, name, value)

    def submit(self):
        if TRICK == "hang":
            time.sleep(60)
        script = getattr(self, "script", None)
        if not script or not script.startswith("#!") or "\0" in script or "\r\n" in script:
            raise ValueError("Not a valid Batch script.")
        assert isinstance(self.environment, dict)
        assert isinstance(self.user_id, int)
        assert isinstance(self.time_limit if hasattr(self, "time_limit") else "", str)
        for resource in (getattr(self, "gres_per_node", None) or "").split(","):
            if resource:
                name, count = resource.rsplit(":", 1)
                int(count)
                if name.count(":") > 1:
                    raise ValueError(f"Invalid specifier: '{name}'")
        if getattr(self, "signal", None):
            signal.Signals[re.split("[:@]", self.signal)[-2]]  # the real one knows USR1 as SIGUSR1 only
        if getattr(self, "memory_per_node", None) and not re.fullmatch(r"[0-9]+[KMGT]", self.memory_per_node):
            raise ValueError("not a size")
        for partition in getattr(self, "partitions", None) or []:
            if partition not in ("cpu", "gpu"):
                raise RPCError(2000)
        if getattr(self, "account", None) not in (None, "physics", "bio"):
            raise RPCError(2045)
        now = int(time.time())
        with _cluster() as jobs:
            job = {
                "id": len(jobs) + 1,
                "uid": self.user_id,
                "name": self.name,
                "comment": self.comment,
                "state": "RUNNING",
                "submit": now,
                "start": now,
                "end": now + 1800,
                "dependency": self.dependencies,
                "exit": 0,
            }
            if self.dependencies == "singleton" and any(
                one["name"] == self.name and one["uid"] == self.user_id and one["state"] in ("RUNNING", "PENDING")
                for one in jobs
            ):
                job["state"] = "PENDING"
            jobs.append(job)
            return job["id"]


class Job:
    """One job; made from a number alone it can be cancelled, loaded it has its fields."""

    def __init__(self, job_id, facts=None):
        self.id = job_id
        if facts:
            self.user_name = pwd.getpwuid(facts["uid"]).pw_name
            self.user_id = facts["uid"]
            self.name, self.comment, self.state = facts["name"], facts["comment"], facts["state"]
            self.state_reason = "Dependency" if facts["state"] == "PENDING" else "None"
            self.partition, self.account, self.qos, self.priority = "cpu", "physics", "normal", 100
            self.submit_time, self.start_time, self.end_time = facts["submit"], facts["start"], facts["end"]
            self.exit_code, self.exit_code_signal, self.requeue_count = facts["exit"], 0, 0
            self.batch_host = "cn1" if facts["state"] == "RUNNING" else None
            self.memory, self.num_nodes, self.time_limit = 500, 1, 30

    @staticmethod
    def load(job_id):
        with _cluster() as jobs:
            if not 1 <= job_id <= len(jobs):
                raise RPCError(2017)
            return Job(job_id, jobs[job_id - 1])

    def cancel(self):
        with _cluster() as jobs:
            if not 1 <= self.id <= len(jobs):
                raise RPCError(2017)
            job = jobs[self.id - 1]
            if job["state"] not in ("RUNNING", "PENDING"):
                raise RPCError(2021)
            job["state"], job["end"] = "CANCELLED", int(time.time())


class Jobs(dict):
    """By number."""

    @staticmethod
    def load(preload_passwd_info=False, frozen=False):
        with _cluster() as jobs:
            return Jobs({job["id"]: Job(job["id"], job) for job in jobs})


class _JobFilter:
    __slots__ = ("end_time", "ids", "names", "start_time", "users")

    def __init__(self, **given):
        for name, value in given.items():
            setattr(self, name, value)


class _PastJobs(dict):
    @staticmethod
    def load(db_filter=None, db_connection=None):
        ids, names = getattr(db_filter, "ids", None), getattr(db_filter, "names", None)
        found = _PastJobs()
        with _cluster() as jobs:
            for job in jobs:
                if (not ids or job["id"] in ids) and (not names or job["name"] in names):
                    past = Job(job["id"], job)
                    past.cancelled_by = "alice" if job["state"] == "CANCELLED" else None
                    past.elapsed_time, past.nodelist = job["end"] - job["start"], "cn1"
                    past.steps = {"batch": SimpleNamespace(stats=SimpleNamespace(max_resident_memory=1 << 20))}
                    found[past.id] = past
        return found


db = SimpleNamespace(Jobs=_PastJobs, JobFilter=_JobFilter)
