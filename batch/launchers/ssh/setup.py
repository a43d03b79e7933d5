"""The shell script that a host runs before the starter if a profile has a setup. Pure.

The script's first arguments are the mark, the attempt and the share, so that a job can be found while it is prepared.
It contains no secret: the starter's specification is on standard input, which the setup must not read.
"""

import shlex
from typing import Final

from msgspec.structs import replace

from batch.contract import JobSpec, LauncherError, Setup
from batch.jobs.setup_script import command_in_image, setup_lines, shell_path
from batch.launchers.ssh.remote.loader import LOADER

HEAD: Final = """\
# Written by Towpath for one start of one server.
exec 5<&0 </dev/null
trap '' USR1
towpath_words=("$@")
towpath_folder={folder}
towpath_log=$towpath_folder/app.log
( umask 077; : >>"$towpath_log" ) 2>/dev/null && exec >>"$towpath_log" 2>&1
towpath_failed() {{ trap - EXIT; export TOWPATH_SETUP_FAILURE="$1"; towpath_start; }}
towpath_start() {{
exec {python} -I -S -c {loader} "${{towpath_words[@]}}" <&5 5<&-
}}
set --
"""


def setup_script(spec: JobSpec, *, folder: str, python: str) -> str:
    """Return the script; `""` if the profile has no setup. Raises LauncherError for values that cannot be in one."""
    if spec.setup == Setup():
        return ""
    head = HEAD.format(folder=shell_path(folder), python=shlex.quote(python), loader=shlex.quote(LOADER))
    return "".join([head, *setup_lines(spec.setup), "towpath_start\n"])


def with_image(spec: JobSpec) -> JobSpec:
    """Return the spec with its command in the image, if there is one."""
    if not spec.setup.image:
        return spec
    return replace(spec, command=(*command_in_image(spec.setup), *spec.command))


def check_texts(spec: JobSpec) -> None:
    """Raise LauncherError for a value that cannot be in a command line or an environment."""
    setup = spec.setup
    texts = [*spec.command, spec.directory, setup.prologue, setup.conda, setup.venv, setup.image]
    texts += [*setup.modules, *setup.binds, *spec.environment, *spec.environment.values()]
    if any("\0" in text for text in texts):
        raise LauncherError("A value contains a NUL character.", transient=False, code="option")
