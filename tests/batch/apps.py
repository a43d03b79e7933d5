"""Small apps for jobs that start quickly, and a hub that receives reports."""

import sys
from pathlib import Path

from batch.contract_suite.jobs import SERVER, app
from batch.contract_suite.jobs import ReportListener as Hub

__all__ = ["SERVER", "Hub", "app", "readable_by_others", "script"]


def script(text: str, where: str = "{socket}") -> tuple[str, ...]:
    """Return the command that runs Python code."""
    return (sys.executable, "-I", "-S", "-c", text, where)


def readable_by_others(path: Path) -> bool:
    return bool(path.lstat().st_mode & 0o077)
