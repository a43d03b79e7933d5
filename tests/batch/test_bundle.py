"""The starter as one file: what it is assembled from, that it is what is sent, and that an old Python can run it."""

import ast
import marshal
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batch.bundle import FOLDER, assemble, starter_modules, starter_source
from batch.launchers.local.forks import compiled_starter
from tests.batch.launchers.slurm.test_script import batch_with

MAX_LINES = 300
MAX_FUNCTION = 60
IMPORTED = {
    *("_ctypes", "_json", "_signal", "_socket", "_thread", "base64", "ctypes", "datetime", "errno", "fcntl", "os"),
    *("resource", "select", "stat", "struct", "sys", "time", "json", "json.encoder", "socket", "ssl"),
    *("hashlib", "pwd", "subprocess"),  # only where SSH is served
}
"""What the starter may import beside its own modules."""
NEWER = (
    *("removeprefix", "removesuffix", "posix_spawn", "memfd_create", "waitstatus_to_exitcode", "capture_output"),
    *("perf_counter_ns", "time_ns", "monotonic_ns", "fromisoformat", "math.prod", ":=", "create_server", "text="),
    *("missing_ok", "dirs_exist_ok", "get_running_loop", "from __future__ import annotations", "breakpoint("),
    *("strsignal", "os.login_tty", "copy_file_range", "register_at_fork", "preadv", "pwritev"),
)
"""What Python 3.6 has not, and a parser does not notice."""
SLOW = {
    "datetime",
    "json",
    "re",
    "enum",
    "socket",
    "signal",
    "subprocess",
    "random",
    "threading",
    "ssl",
    "typing",
    "ctypes",
}
MODULES = sorted(FOLDER.glob("*.py"))


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "starter.py"
    path.write_text(starter_source())
    return path


def read(program):
    """Python that makes the modules of the file importable."""
    return f"with open({str(program)!r}) as file:\n    exec(file.read(), {{'__name__': 'read'}})"


def imports(tree):
    """The modules that a module imports when it runs; what only a type checker imports is left out."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                inner.skip = True
    for node in ast.walk(tree):
        if not hasattr(node, "skip"):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    return found


def test_the_same_modules_make_the_same_file_in_any_order():
    modules = starter_modules()
    backwards = dict(reversed(modules.items()))
    assert list(backwards) != list(modules)
    assert assemble(backwards) == assemble(modules) == starter_source()


def test_the_file_holds_each_module_as_it_was_written():
    names = {"__name__": "read"}
    finders = list(sys.meta_path)
    try:
        exec(compile(starter_source(), "starter.py", "exec"), names)
    finally:
        sys.meta_path[:] = finders
    for path in MODULES:
        if path.stem != "__init__":
            assert names["TEXTS"][f"batch.starter.{path.stem}"] == path.read_text()


@pytest.mark.parametrize("text", ["x = '''a'''", "# it ends with \\", "# it ends with '", "a\0b", "a\r\nb"])
def test_a_module_that_would_read_otherwise_in_the_file_is_refused(text):
    with pytest.raises(ValueError, match="raw string"):
        assemble({"batch.starter.odd": text})


def test_a_slurm_job_is_sent_this_file():
    assert f"\n{starter_source().rstrip()}\nTOWPATH_END_OF_STARTER\n" in batch_with(starter=starter_source()).text


def test_a_local_job_runs_the_same_modules(tmp_path):
    finder, codes = marshal.loads(Path(compiled_starter(tmp_path)).read_bytes())
    assert finder == compile(assemble({}), "towpath-starter", "exec")
    assert {name: marshal.loads(code) for name, code in codes.items()} == {
        name: compile(text, name, "exec") for name, text in starter_modules().items()
    }


def test_the_file_is_python_3_6(program):
    ast.parse(program.read_text(), feature_version=(3, 6))
    for name, text in starter_modules().items():
        tree = ast.parse(text, feature_version=(3, 6))
        ours = {imported for imported in imports(tree) if imported.startswith("batch.")}
        assert ours <= set(starter_modules()), name
        assert imports(tree) - ours <= IMPORTED, name
    text = program.read_text()
    assert [name for name in NEWER if name in text] == []
    assert not re.search(r"\bf[\"'][^\"']*=\}", text)


def test_the_file_can_be_imported_by_every_python_of_this_machine(program):
    names = sorted(set(starter_modules()) - {"batch", "batch.starter"})
    code = f"{read(program)}\nimport {', '.join(names)}"
    for python in {sys.executable, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(6, 20)))}:
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            result = subprocess.run([python, "-I", "-S", "-W", "error", "-c", code], capture_output=True, text=True)
            assert (python, result.returncode, result.stderr) == (python, 0, "")


def test_a_module_is_short():
    assert [path.name for path in MODULES if len(path.read_text().splitlines()) > MAX_LINES] == []


def test_a_function_is_short():
    functions = [
        (path.name, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [found for found in functions if found[2] > MAX_FUNCTION] == []


def test_a_start_loads_nothing_that_is_slow_to_load(program):
    code = f"{read(program)}\nimport sys, batch.starter.main, batch.starter.starter\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    loaded = set(result.stdout.split())
    assert "_socket" in loaded
    assert loaded & SLOW == set()
    assert "batch.starter.tls_server" not in loaded


def test_a_node_needs_nothing_but_the_file(program, tmp_path):
    """Neither the hub's packages nor the folder that it runs in are where modules come from."""
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "no-such-file"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "FileNotFoundError" in result.stderr
