"""Running the hub's own programs as other Unix accounts, which may not be able to read this checkout."""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copytree

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("batch", "gateway", "portal", "state")


def account(name: str) -> pwd.struct_passwd:
    """The passwd entry of an account that exists."""
    return pwd.getpwnam(name)


def as_account(name: str) -> dict:
    """Arguments of `subprocess` with which a root process starts a program as this account, with no other groups."""
    entry = account(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def program() -> tuple[list[str], dict[str, str]]:
    """The argv of `towpath` and its PYTHONPATH for other accounts: from here, or from a copy that they can read."""
    python = Path(sys.executable)
    if _open_to_all(ROOT) and _open_to_all(python.parent):
        return [str(python), "-m", "gateway"], {"PYTHONPATH": str(ROOT)}
    folder = Path(tempfile.gettempdir()) / f"towpath-for-others-{os.getpid()}"
    if not folder.exists():
        uv = [str(ROOT / ".venv-uv/bin/uv")]
        subprocess.run([*uv, "venv", "--quiet", "--python", "/usr/bin/python3", folder], check=True)
        lock = ROOT / "requirements/run.lock"
        environment = {**os.environ, "UV_LINK_MODE": "copy", "VIRTUAL_ENV": str(folder)}
        subprocess.run([*uv, "pip", "sync", "--quiet", "--require-hashes", lock], check=True, env=environment)
        for room in ROOMS:
            copytree(ROOT / room, folder / "rooms" / room)
        install = [*uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", str(ROOT)]
        subprocess.run(install, check=True, env=environment)
    return [str(folder / "bin/python"), "-m", "gateway"], {}


def _open_to_all(path: Path) -> bool:
    """Return whether every account has access to this folder."""
    wanted = stat.S_IROTH | stat.S_IXOTH
    return all(one.stat().st_mode & wanted == wanted for one in (path, *path.parents))
