"""Turns a JobSpec into the one script that is the whole job.

Owns the `#SBATCH` lines, the shell code that makes the app available (modules, prologue, conda, venv, image), and how
the starter and its specification reach the node. Pure: files are read by the caller. Does not know how the script is
submitted.

The script contains everything, so that nodes need only bash and a Python interpreter, and share no files with the hub.
The starter and its specification are here-documents. bash passes each of them through a pipe, or through an unlinked
temporary file with mode 0600 (before 5.1, or if it is long). So no secret is in an argv, in the environment or in a
file that remains. Values from users are always quoted: the shell expands only `$HOME` and what the admin has
configured.
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import JobSpec, LauncherError, Resources, starter_spec
from batch.jobs.setup_script import command_in_image, setup_lines, shell_path
from batch.launchers.slurm import grammar
from batch.launchers.slurm.identity import Identity

MAX_SCRIPT: Final = 4 * 1024 * 1024
"""slurm.conf(5): the default of SchedulerParameters=max_script_size."""
MAX_COMMENT: Final = 1024
"""The longest comment that slurmctld accepts (job_mgr.c, 22.05 to 26.05)."""
NAME_PREFIX: Final = "towpath-"
MIB: Final = 1024 * 1024
COUNTED_ALONE: Final = frozenset({"shard", "mps"})
"""Generic resources that are shares of a GPU, and not types of GPU: `--gres=shard:2`."""
NODE_FOLDER: Final = "~/.towpath/jobs"
REPEAT_SECONDS: Final = 30.0
"""How often a job repeats that it is ready, so that a hub that lost its store finds it."""
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
END_OF_STARTER: Final = "TOWPATH_END_OF_STARTER"
END_OF_SPEC: Final = "TOWPATH_END_OF_SPECIFICATION"
LOADER: Final = (
    'import os; f = os.fdopen(3, "rb"); code = f.read(); f.close(); exec(compile(code, "towpath-starter", "exec"))'
)
"""Runs the starter from descriptor 3 and closes it, so that the app inherits no descriptor."""


class Batch(Struct, frozen=True, kw_only=True):
    """A job for sbatch: options by long name (`""`: a flag), the environment, and the shell script.

    slurmrestd and pyslurm take options and environment separately; `text` is the script with its options.
    """

    options: tuple[tuple[str, str], ...]
    environment: dict[str, str]
    body: str

    @property
    def text(self) -> str:
        """Return the script for the standard input of `sbatch --parsable`."""
        lines = [grammar.line(name, value) for name, value in self.options]
        return "\n".join(["#!/bin/bash", *lines, self.body])

    def __repr__(self) -> str:
        return f"Batch(options={[name for name, _ in self.options]})"


def batch(
    spec: JobSpec,
    identity: Identity,
    *,
    comment: str,
    starter: str,
    python: str = "/usr/bin/python3",
    node_folder: str = "",
    environment: Mapping[str, str] | None = None,
) -> Batch:
    """Build the job of this attempt.

    `comment`: user, server and the sealed record; `starter`: its text (`batch.bundle`).

    `environment` is added to what login(1) would set. Raises LauncherError for a value that cannot be in a script.
    """
    if any("\0" in text for text in _texts(spec)):
        raise LauncherError("A value has a NUL character in it.", transient=False, code="option")
    options = [
        ("job-name", NAME_PREFIX + spec.attempt),
        ("comment", comment),
        *resource_options(spec.resources),
        # A second job of this name does not begin while the first one exists; the launcher then cancels it.
        ("dependency", "singleton"),
        ("requeue", ""),
        ("output", "/dev/null"),
        ("export", "ALL"),
        # The hub's own limits (open files, core size, ...) do not apply to the job.
        ("propagate", "NONE"),
    ]
    if _is_plain_path(identity.home):
        options.append(("chdir", identity.home))
    for name, value in options:
        grammar.checked(name, value)
    options += [_further(name, value) for name, value in spec.resources.more]
    made = Batch(
        options=tuple(options),
        environment={"PATH": PATH, "LANG": "C.UTF-8", **identity.environment, **(environment or {})},
        body=_body(spec, starter=starter, python=python, node_folder=node_folder),
    )
    if len(made.text.encode()) > MAX_SCRIPT:
        raise LauncherError("The job's script is too long for Slurm.", transient=False, code="script")
    return made


def resource_options(resources: Resources) -> list[tuple[str, str]]:
    """Return sbatch's options for the requested resources."""
    named = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "reservation": resources.reservation,
        "constraint": resources.constraint,
    }
    options = [(name, value) for name, value in named.items() if value]
    gpus = resources.gpus if resources.gpus is not None else int(bool(resources.gpu_type))
    if gpus:
        kind = resources.gpu_type
        gres = kind if kind in COUNTED_ALONE else f"gpu:{kind}" if kind else "gpu"
        options.append(("gres", f"{gres}:{gpus}"))
    if resources.cores is not None:
        options.append(("cpus-per-task", str(resources.cores)))
    if resources.memory is not None:
        options.append(("mem", f"{-(-resources.memory // MIB)}M"))
    if resources.walltime is not None:
        options.append(("time", walltime(resources.walltime)))
    if resources.nodes is not None:
        options.append(("nodes", str(resources.nodes)))
        if resources.nodes > 1:  # the notebook runs on the first node: the failure of another node need not end it
            options.append(("no-kill", ""))
    if resources.signal:
        options.append(("signal", f"B:USR1@{resources.signal}"))
    return options


def walltime(seconds: int) -> str:
    """Return a time limit in sbatch's notation: `D-HH:MM:SS`."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02}:{minute:02}:{second:02}"


def _further(name: str, value: str) -> tuple[str, str]:
    grammar.further(name, value)
    return name, value


def _texts(spec: JobSpec) -> Iterable[str]:
    setup = spec.setup
    yield from spec.command
    for name, value in spec.environment.items():
        yield name
        yield value
    yield from (spec.directory, setup.prologue, setup.conda, setup.venv, setup.image, *setup.modules, *setup.binds)


def _is_plain_path(path: str) -> bool:
    try:
        grammar.checked("chdir", path)
    except LauncherError:
        return False
    return True


# --- the shell script -----------------------------------------------------------------------------------------------
HEAD: Final = """\
# Written by Towpath for one start of one server. Its secrets belong to this job only, and expire when it ends.
trap '' USR1
[ -z "$SUDO_COMMAND" ] || {{ export PATH={path}; unset SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID MAIL TERM; }}
towpath_folder={folder}
towpath_python={python}
( umask 077; mkdir -p -- "$towpath_folder" && chmod 700 -- "$towpath_folder" ) 2>/dev/null
towpath_log=$towpath_folder/app.log
[ -O "$towpath_folder" ] && ( umask 077; : >>"$towpath_log" ) 2>/dev/null && exec >>"$towpath_log" 2>&1
towpath_failed() {{ trap - EXIT; export TOWPATH_SETUP_FAILURE="$1"; towpath_start; }}
towpath_start() {{
exec "$towpath_python" -I -S -c {loader} 3<<'{end_of_starter}' <<'{end_of_spec}'
{starter}
{end_of_starter}
{spec}
{end_of_spec}
}}
"""


def _body(spec: JobSpec, *, starter: str, python: str, node_folder: str) -> str:
    setup = spec.setup
    folder = f"{(node_folder or NODE_FOLDER).rstrip('/')}/{spec.attempt}"
    if setup.image:
        spec = replace(spec, command=(*command_in_image(setup), *spec.command))
    document = starter_spec(spec, folder, repeat=REPEAT_SECONDS, inherit=True, guard=True, prune=True).decode()
    for text, end in ((starter, END_OF_STARTER), (document, END_OF_SPEC)):
        if end in text.splitlines():
            raise LauncherError("The job's script cannot be written.", transient=False, code="script")
    head = HEAD.format(
        folder=shell_path(folder),
        python=shlex.quote(python),
        path=PATH,
        loader=shlex.quote(LOADER),
        starter=starter.rstrip("\n"),
        spec=document,
        end_of_starter=END_OF_STARTER,
        end_of_spec=END_OF_SPEC,
    )
    return "".join([head, *setup_lines(setup), "towpath_start\n"])
