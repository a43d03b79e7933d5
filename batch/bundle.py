"""The starter as one file: the modules of `batch.starter` as texts, and the few lines that import them from there.

Owns: the assembly. It is pure and deterministic: the same modules make the same text, everywhere. Knows nothing of
what the modules do.

A node compiles only the modules that its job imports, so that what few jobs need costs the others nothing.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = "batch.starter"
FOLDER: Final = Path(__file__).with_name("starter")
QUOTES: Final = "'''"
FORBIDDEN: Final = (QUOTES, "\r", "\0")
HEAD: Final = '''\
"""Towpath's starter, which runs one app in a job. Assembled by batch/bundle.py from batch/starter/."""

import sys

TEXTS = {
'''
FOOT: Final = '''\
}


class Modules:
    """Imports the modules above."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in TEXTS:
            return type(sys.__spec__)(name, Modules, is_package=name in ("batch", "batch.starter"))
        return None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        code = TEXTS[module.__name__]
        if isinstance(code, str):
            code = compile(code, module.__name__, "exec")
        exec(code, module.__dict__)


sys.meta_path.insert(0, Modules)

if __name__ == "__main__":
    from batch.starter.main import main

    sys.exit(main(sys.argv))
'''


@cache
def starter_modules() -> Mapping[str, str]:
    """The texts of the starter's modules in this installation, by full name; packages are empty."""
    texts = {f"{PACKAGE}.{path.stem}": path.read_text() for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    return {"batch": "", PACKAGE: "", **texts}


@cache
def starter_source() -> str:
    """The starter of this installation as one file."""
    return assemble(starter_modules())


def assemble(modules: Mapping[str, str]) -> str:
    """One file that holds these modules, by full name. Raises ValueError for a text that cannot be in it."""
    return "".join([HEAD, *(_entry(name, text) for name, text in sorted(modules.items())), FOOT])


def _entry(name: str, text: str) -> str:
    """A module as a raw string, which a reader of a job's script can read as it was written."""
    if any(part in text for part in FORBIDDEN) or text.endswith(("\\", "'")):
        msg = f"The module {name} cannot be written as a raw string."
        raise ValueError(msg)
    return f'    "{name}": r{QUOTES}{text}{QUOTES},\n'
