"""Assembles a program as one file: the source of modules, and a few lines that import them.

Owns the format of the programs that are sent to other machines: the starter (`batch.starter`) and programs that share
some of its modules. Pure and deterministic: the same modules always give the same text. Does not know what the modules
do.

A node compiles only the modules that are imported, so that rarely used ones cost little.
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
"""Towpath's program %s, assembled by batch/bundle.py."""

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
            package = any(other.startswith(name + ".") for other in TEXTS)
            return type(sys.__spec__)(name, Modules, is_package=package)
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
    from %s.main import main

    sys.exit(main(sys.argv))
'''


@cache
def starter_modules() -> Mapping[str, str]:
    """Return the source of the starter's modules by full name. Packages are empty."""
    return {"batch": "", **package_modules(PACKAGE, FOLDER)}


def package_modules(package: str, folder: Path) -> Mapping[str, str]:
    """Return the source of a package's modules by full name. The package itself is empty."""
    texts = {f"{package}.{path.stem}": path.read_text() for path in folder.glob("*.py") if path.stem != "__init__"}
    return {package: "", **texts}


@cache
def starter_source() -> str:
    """Return the installed starter as one file."""
    return assemble(starter_modules())


def assemble(modules: Mapping[str, str], program: str = PACKAGE) -> str:
    """Return one file that contains these modules by full name and runs the module `main` of the package `program`.

    Raises ValueError for source that it cannot contain.
    """
    entries = [_entry(name, text) for name, text in sorted(modules.items())]
    return "".join([HEAD % program, *entries, FOOT % program])


def _entry(name: str, text: str) -> str:
    """Return a module as a raw string, so that a job's script stays readable."""
    if any(part in text for part in FORBIDDEN) or text.endswith(("\\", "'")):
        msg = f"The module {name} cannot be written as a raw string."
        raise ValueError(msg)
    return f'    "{name}": r{QUOTES}{text}{QUOTES},\n'
