"""The house: whose names these are, what the locks hold, what the project says of itself."""

import ast
import re
import subprocess
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"batch", "gateway", "portal", "state"}


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_wheel_holds_the_four_rooms_with_their_templates_and_nothing_else(tmp_path):
    subprocess.run(
        [
            ROOT / ".venv-uv/bin/uv",
            "build",
            "--quiet",
            "--wheel",
            "--no-build-isolation",
            "--python",
            ROOT / ".venv/bin/python",
            "--out-dir",
            tmp_path,
        ],
        cwd=ROOT,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == ROOMS
    assert "gateway/commands/towpath.toml" in names
    assert any(name.startswith("portal/templates/") for name in names)
    assert any(name.startswith("portal/static/") for name in names)


def test_the_four_names_belong_to_us_alone_in_the_locked_environment():
    for distribution in distributions():
        if distribution.metadata["Name"] == "towpath":
            continue
        tops = {str(file).split("/")[0].removesuffix(".py") for file in distribution.files or []}
        assert not tops & ROOMS, distribution.metadata["Name"]


def test_no_file_names_a_registry_host_or_a_folder_of_the_machine_it_was_written_on():
    hosts = re.compile(
        r"(?:py"
        r"pi\.org|pythonhosted\.org|registry\.npm"
        r"js\.org|deb\.debian\.org|/work/"
        r"main|/root/\.py"
        r"env)"
    )
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found = hosts.search(text)
        assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"


def test_every_module_opens_with_what_it_is():
    for room in sorted(ROOMS):
        for path in sorted((ROOT / room).rglob("*.py")):
            first = path.read_text().lstrip()
            assert first.startswith(('"""', 'r"""', "#!")), path.relative_to(ROOT)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_the_root_of_a_room_holds_at_most_ten_modules(room):
    assert len(list((ROOT / room).glob("*.py"))) <= 10


def test_no_room_but_batch_knows_a_kind_of_cluster_by_name():
    """A kind is what its description says (`state.plugins.launchers`): a plug-in's is no other than our own."""
    kinds = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["towpath.launchers"])
    assert {"local", "slurm"} <= kinds
    default = {
        "state/config/tables.py": ["local"] * 3,  # the cluster of a hub without a configuration
        "state/plugins/launchers.py": ["ssh"],  # the way in of this name, which any kind may have
    }
    for room in sorted(ROOMS - {"batch"}):
        for path in sorted((ROOT / room).rglob("*.py")):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
            names += [node.id for node in nodes if isinstance(node, ast.Name)]
            where = str(path.relative_to(ROOT))
            assert [text for text in texts if text in kinds] == default.get(where, []), where
            assert not [name for name in names if re.search("slurm", name, re.IGNORECASE)], where
    for path in sorted((ROOT / "portal").rglob("*.html")) + sorted((ROOT / "portal").rglob("*.js")):
        found = re.findall(r"""["'](\w+)["']""", path.read_text())
        assert not kinds & set(found), path.relative_to(ROOT)


SIGN_IN = ("gateway/auth/kinds/", "gateway/auth/oidc/", "gateway/auth/ldap/")
"""Where the ways to sign in that come with Towpath are."""


def test_only_its_own_modules_know_a_way_to_sign_in_by_name():
    """As for clusters: what others need to know is in its description (`state.plugins.authenticators`)."""
    kinds = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["towpath.authenticators"]
    )
    assert {"oidc", "ldap", "pam", "header", "test"} <= kinds
    for room in sorted(ROOMS):
        for path in sorted((ROOT / room).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            if where.startswith(SIGN_IN):
                continue
            nodes = list(ast.walk(ast.parse(path.read_text())))
            found = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            assert not found & kinds, where
    for path in sorted((ROOT / "portal").rglob("*.html")) + sorted((ROOT / "portal").rglob("*.js")):
        quoted = re.findall(r"""["'](\w+)["']""", path.read_text())
        assert not kinds & set(quoted), path.relative_to(ROOT)


FUNCTION_MAX = 60


def test_no_function_is_longer_than_a_screen():
    longer = {}
    for path in (path for path in tracked() if path.suffix == ".py" and path.parts[len(ROOT.parts)] in ROOMS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_MAX:
                    longer.setdefault(path.relative_to(ROOT).as_posix(), set()).add(node.name)
    assert not longer


def test_acts_raise_domain_errors_which_are_mapped_to_http_in_one_place():
    for folder in ("users", "sharing", "servers"):
        for path in sorted((ROOT / "portal" / folder).rglob("*_actions.py")):
            assert "HTTPException" not in path.read_text(), path.relative_to(ROOT)


def test_a_log_line_about_an_attempt_has_its_job():
    """Admins search a log by the scheduler's id. Not yet known: in lines about a request to a host, which starts a job."""
    without = []
    for path in tracked():
        if path.suffix != ".py" or path.relative_to(ROOT).parts[0] not in {"batch", "gateway", "portal", "state"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.") and node.args):
                continue
            text = ast.unparse(node.args[0])
            if re.search(r"(server|attempt)=%", text) and not re.search(r"(job|name)=%", text):
                without.append(text.strip("'").partition(".")[0])
    assert sorted(without) == ["A host did not answer a request", "A host refused a request"]


DIALECT = {"told", "asked", "heard", "said", "words", "stands", "wanted", "wish", "drawn", "meant"}
"""Names that tell how a value came about, and not what it is: `reply`, `requested`, `message`, `options`, ... do."""
FIELDS_OF_REPORTS = {("portal/servers/report_messages.py", "told")}
"""Starters of earlier versions send them."""


def names_of(tree):
    """Yield the names of functions, parameters, variables, fields and attributes that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr
            case ast.Name(ctx=ast.Store()):
                yield node.id


def test_no_function_parameter_variable_or_attribute_has_a_name_of_the_old_dialect():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in tracked()
        if path.suffix == ".py" and path.parts[len(ROOT.parts)] in ROOMS | {"deploy"}
        for name in names_of(ast.parse(path.read_text()))
        if name.strip("_") in DIALECT
    }
    assert found == FIELDS_OF_REPORTS


WRITES = re.compile(r"(add|close|drop|end|give|grant|issue|keep|note|remove|revoke|save|take)(_\w+)?")
RECORDS = {"audit", "groups", "servers", "services", "sessions", "shares", "tokens", "users"}


def test_routes_change_nothing_themselves_so_that_no_act_is_without_its_audit_entry():
    """An act on a record is a function in a module of acts, which notes its entry. A route calls it."""
    faults = []
    for folder in ("api", "pages"):
        for path in sorted((ROOT / "portal" / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.ImportFrom):
                    names = {f"{node.module}.{name.name}" for name in node.names} | {node.module}
                    if "portal.audit.recorder" in names:
                        faults.append(f"{where} writes to the audit")
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    called, of = node.func.attr, node.func.value
                    if isinstance(of, ast.Attribute) and of.attr in RECORDS and WRITES.fullmatch(called):
                        faults.append(f"{where} calls {of.attr}.{called}")
    assert not faults
