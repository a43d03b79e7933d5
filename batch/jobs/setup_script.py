"""The shell code that makes an app available on a node: modules, prologue, conda, virtual environment, image.

Owns that code for every kind of cluster whose jobs begin in a shell. Pure. The script that contains it defines
`towpath_failed SENTENCE`, which starts the starter with that failure, and `$towpath_folder`, the job's folder. Values
from users are always quoted: the shell expands only `$HOME` and what the admin wrote.
"""

import shlex
from typing import Final

from batch.contract import LauncherError, Setup

DIRECTIVES: Final = ("#SBATCH", "#PBS", "#BSUB", "#SLURM")

MODULES: Final = """\
type module >/dev/null 2>&1 || {{ [ -r /etc/profile ] && . /etc/profile; }}
type module >/dev/null 2>&1 || towpath_failed 'This node has no environment modules (no command "module").'
for towpath_module in {modules}; do
module load "$towpath_module" || towpath_failed "The module $towpath_module could not be loaded (exit code $?)."
done
"""

PROLOGUE: Final = """\
trap 'towpath_failed "The prologue of the profile ended the script (exit code $?)."' EXIT
eval {prologue}
towpath_code=$?
set +eu
trap - EXIT
[ "$towpath_code" = 0 ] || towpath_failed "The prologue of the profile failed (exit code $towpath_code)."
"""

CONDA: Final = """\
towpath_env={conda}
for towpath_conda in "$CONDA_EXE" conda "$MAMBA_EXE" mamba micromamba; do
command -v -- "${{towpath_conda:-/}}" >/dev/null 2>&1 && ! [ -d "$towpath_conda" ] && break
towpath_conda=
done
[ -n "$towpath_conda" ] || towpath_failed 'This node has no conda, or a module or a prologue must bring it first.'
case "${{towpath_conda##*/}}" in
micromamba) eval "$("$towpath_conda" shell hook --shell bash)" && micromamba activate "$towpath_env" ;;
*) eval "$("$towpath_conda" shell.bash hook)" && "${{towpath_conda##*/}}" activate "$towpath_env" ;;
esac || towpath_failed "The conda environment $towpath_env could not be activated."
"""

VENV: Final = """\
export VIRTUAL_ENV={venv}
[ -d "$VIRTUAL_ENV/bin" ] || towpath_failed "There is no virtual environment at $VIRTUAL_ENV on this node."
export PATH="$VIRTUAL_ENV/bin:$PATH"
unset PYTHONHOME
"""

IMAGE: Final = """\
command -v apptainer >/dev/null 2>&1 || towpath_failed 'Apptainer is not installed on this node.'
[ -r {image} ] || towpath_failed "The image "{image}" cannot be read on this node."
export APPTAINER_BIND="$towpath_folder${{APPTAINER_BIND:+,$APPTAINER_BIND}}"
[ -e /dev/nvidiactl ] && export APPTAINER_NV=1
[ -e /dev/kfd ] && export APPTAINER_ROCM=1
"""


def setup_lines(setup: Setup) -> list[str]:
    """Return the lines that make the app available. Later ones may depend on earlier ones."""
    for name in (*setup.modules, setup.conda):
        if name.startswith("-"):
            raise LauncherError(f"{name!r} is not a valid name of an environment.", transient=False, code="option")
    parts = []
    if setup.modules:
        parts.append(MODULES.format(modules=" ".join(map(shlex.quote, setup.modules))))
    if setup.prologue.strip():
        parts.append(PROLOGUE.format(prologue=shlex.quote(_lines(setup.prologue))))
    if setup.conda:
        parts.append(CONDA.format(conda=shell_path(setup.conda)))
    if setup.venv:
        parts.append(VENV.format(venv=shell_path(setup.venv)))
    if setup.image:
        parts.append(IMAGE.format(image=shell_path(setup.image)))
    return parts


def shell_path(path: str) -> str:
    """Return a shell word in which only a leading `~/` is special: the home of the job's user, on the node."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)


def _lines(prologue: str) -> str:
    """Return the admin's lines with Unix line ends.

    Raises LauncherError for a directive, which sbatch would ignore here.
    """
    text = prologue.replace("\r\n", "\n").replace("\r", "\n")
    if any(line.lstrip().startswith(DIRECTIVES) for line in text.split("\n")):
        raise LauncherError(
            "The profile's prologue contains an option for the scheduler (such as #SBATCH).",
            transient=False,
            code="script",
            hint="Contact the hub's admins: such options belong in [profile.resources].",
        )
    return text


def command_in_image(setup: Setup) -> list[str]:
    """Return the app's command in the image. Paths are absolute, because nothing expands `~` in an argv."""
    for path in (setup.image, *setup.binds):
        if not path.startswith("/") or "," in path:
            raise LauncherError(
                f"{path!r} is not an absolute path of an image or bind.",
                transient=False,
                code="image",
                hint="Contact the hub's admins.",
            )
    return ["apptainer", "exec", *(f"--bind={bind}" for bind in setup.binds), setup.image]
