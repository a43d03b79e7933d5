"""A job as one script: the options after #SBATCH, the shell code, and what the starter receives."""

import json
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.bundle import starter_source
from batch.contract import LauncherError, Passport, Resources, Setup
from batch.launchers.slurm import grammar
from batch.launchers.slurm.script import Batch, batch, resource_options, walltime
from state.offer.option_kinds import ACCOUNTING_NAME
from tests.batch.launchers.slurm.making import ALICE, job, record

TELL = 'import os, sys\nsys.stdout.write("\\x02" + os.environ.get("TOWPATH_SETUP_FAILURE", "") + "\\x03" + sys.stdin.read())\n'
MARKS = {"\x02", "\x03"}  # TELL's own
HOSTILE = (
    "plain",
    "with space",
    "new\nline",
    "'",
    '"',
    "''\"\"",
    "$(touch canary)",
    "`touch canary`",
    "${HOME}",
    "; touch canary;",
    "&& touch canary",
    "| touch canary",
    "> canary",
    "\n#SBATCH --uid=root\n",
    "#SBATCH --wrap=id",
    "--wrap=id",
    "-x",
    "\\",
    "\\n",
    "a\rb",
    "TOWPATH_END_OF_SPECIFICATION",
    "\nTOWPATH_END_OF_SPECIFICATION\ntouch canary\n",
    "\nTOWPATH_END_OF_STARTER\ntouch canary\n",
    "EOF",
    "*",
    "~",
    "~root",
    "{socket}",
    "%s%n",
    "é漢\u2028",
    "!",
    "a,b",
    "a=b",
    "#",
)
hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)


RECORD = record()


def batch_with(**more) -> Batch:
    starter = more.pop("starter", TELL)
    return batch(job(record=RECORD, **more), ALICE, comment="towpath:1:alice/lab:abc", starter=starter)


def run(
    made: Batch, made_there: frozenset[str] | set[str] = frozenset()
) -> tuple[str, dict, str, subprocess.CompletedProcess]:
    """Run the script as slurmd does, in a home of its own.

    Return the setup's failure, the specification, and what was printed before.
    """
    with tempfile.TemporaryDirectory() as home:
        script = Path(home) / "slurm_script"
        script.write_text(made.text)
        done = subprocess.run(
            ["/bin/bash", script],
            cwd=home,
            env={**made.environment, "HOME": home},
            input="",
            capture_output=True,
            text=True,
        )
        (log,) = Path(home).glob(".towpath/jobs/*/app.log")
        assert log.stat().st_mode & 0o777 == 0o600
        assert log.parent.stat().st_mode & 0o777 == 0o700
        assert not list(Path(home).rglob("canary"))
        before, _, rest = log.read_text().partition("\x02")
        failure, _, spec = rest.partition("\x03")
        ours = {"slurm_script", ".towpath", "jobs", log.parent.name, "app.log"}
        assert {path.name for path in Path(home).rglob("*")} == ours | made_there
        return failure, json.loads(spec), before, done


def directives(text: str) -> list[tuple[str, str]]:
    """Return the options that sbatch reads from comments before the first command (opt.c, `_get_next_opt`)."""
    found = []
    for line in text.split("\n"):
        if line.startswith("#SBATCH"):
            for word in shlex.split(line.removeprefix("#SBATCH"), comments=True):
                name, _, value = word.removeprefix("--").partition("=")
                found.append((name, value))
        elif line and not line.startswith("#"):
            break
    return found


@settings(deadline=None, max_examples=30)
@given(st.lists(hostile, min_size=1, max_size=3), st.dictionaries(st.sampled_from("ABC"), hostile), hostile)
@example(list(HOSTILE), {"A": "\n".join(HOSTILE)}, "\nTOWPATH_END_OF_SPECIFICATION\n")
def test_any_specification_reaches_the_starter_unchanged_and_is_not_executed(command, environment, text):
    failure, spec, before, _ = run(batch_with(command=tuple(command), environment=environment, secrets=(text,)))
    assert failure == ""
    assert before == ""
    assert spec["command"] == command
    assert spec["environment"] == environment
    assert spec["secrets"] == [text]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["partition", "account", "qos", "reservation", "constraint", "gpu_type"]), hostile)
def test_a_value_is_refused_beside_its_field_or_reaches_sbatch_as_one_option(field, value):
    try:
        text = batch_with(resources=Resources(**{field: value, "signal": 60})).text
    except LauncherError as error:
        assert not error.transient
        assert error.field == {"gpu_type": "gpus"}.get(field, field)
        return
    found = dict(directives(text))
    expected = dict(batch_with(resources=Resources(signal=60)).options)
    if value:
        name, stands = {"gpu_type": ("gres", f"gpu:{value}:1")}.get(field, (field, value))
        expected[name] = f"{value}:1" if value in ("shard", "mps") else stands
    assert found == expected
    assert len(directives(text)) == len(expected)


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(st.sampled_from([*grammar.ALLOWED, "uid", "wrap", "output", "export", "array", "hold"]), st.text()),
    hostile,
)
def test_a_further_option_is_on_the_list_with_its_form_or_refused(name, value):
    try:
        text = batch_with(resources=Resources(more=((name, value),))).text
    except LauncherError as error:
        assert not error.transient
        return
    assert name in grammar.ALLOWED
    assert (name, value) in directives(text)


def test_no_list_of_options_allows_white_space_or_quotes_except_spaces_in_names_of_accounts():
    for name, form in {**grammar.OWN, **grammar.ALLOWED}.items():
        named = form == ACCOUNTING_NAME
        for bad in (" ", "a b", "a\nb", "'", '"', "a#b", "\\", "$x", "`", ";", "a\n"):
            assert not re.fullmatch(form, bad) or (named and bad == "a b"), (name, bad)


@pytest.mark.parametrize("name", ["physics", "Lab 1/2", "física", "Groß-Söhne (EU)", "x@y.z:1"])
def test_the_name_of_an_account_may_have_spaces_slashes_and_letters_of_any_language(name):
    text = batch_with(resources=Resources(account=name, qos=name)).text
    assert ("account", name) in directives(text)
    assert ("qos", name) in directives(text)


@pytest.mark.parametrize("name", [" a", "a ", "a\tb", "a\u00a0b", "a\u2028b", 'a"b', "a,b", "-a", "a=b", "a" * 129])
def test_a_name_that_would_be_another_option_or_a_list_is_refused(name):
    with pytest.raises(LauncherError) as caught:
        batch_with(resources=Resources(account=name))
    assert caught.value.field == "account"


def test_every_request_is_an_option_by_its_long_name():
    asked = Resources(
        partition="gpu",
        account="physics",
        qos="gpuq",
        reservation="class",
        constraint="a100&nvlink",
        gpu_type="a100_1g.5gb",
        gpus=2,
        cores=4,
        memory=3 * 2**30 + 1,
        walltime=93784,
        nodes=2,
        signal=90,
        more=(("exclusive", ""), ("licenses", "matlab:1")),
    )
    assert dict(batch_with(resources=asked).options) == {
        "job-name": batch_with(resources=asked).options[0][1],
        "comment": "towpath:1:alice/lab:abc",
        "partition": "gpu",
        "account": "physics",
        "qos": "gpuq",
        "reservation": "class",
        "constraint": "a100&nvlink",
        "gres": "gpu:a100_1g.5gb:2",
        "cpus-per-task": "4",
        "mem": "3073M",
        "time": "1-02:03:04",
        "nodes": "2",
        "no-kill": "",
        "signal": "B:USR1@90",
        "dependency": "singleton",
        "requeue": "",
        "output": "/dev/null",
        "export": "ALL",
        "propagate": "NONE",
        "chdir": "/home/alice",
        "exclusive": "",
        "licenses": "matlab:1",
    }


def test_resources_that_are_not_requested_are_left_to_the_cluster():
    assert resource_options(Resources()) == []
    assert resource_options(Resources(gpus=0, gpu_type="a100")) == []
    assert resource_options(Resources(gpu_type="a100")) == [("gres", "gpu:a100:1")]
    assert resource_options(Resources(gpus=1)) == [("gres", "gpu:1")]
    assert resource_options(Resources(gpu_type="shard", gpus=3)) == [("gres", "shard:3")]


@given(st.integers(1, 10**8))
def test_a_walltime_is_written_as_sbatch_reads_it(seconds):
    days, clock = walltime(seconds).split("-")
    hours, minutes, rest = clock.split(":")
    assert int(days) * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(rest) == seconds
    grammar.checked("time", walltime(seconds))


def test_no_secret_is_in_the_environment_an_option_or_the_text_of_a_batch():
    passport = Passport(name="n", certificate="CERT", key="s3cret-key", authority="CA")
    batch = batch_with(environment={"JUPYTER_TOKEN": "s3cret"}, report_token="s3cret", passport=passport)
    assert "s3cret" not in repr(batch.environment) + repr(batch.options) + repr(batch)
    assert batch.body.count("s3cret") == 3  # in the specification, which is a here-document


def test_a_nul_is_refused():
    for more in ({"command": ("a\0b",)}, {"environment": {"A": "\0"}}, {"setup": Setup(prologue="\0")}):
        with pytest.raises(LauncherError):
            batch_with(**more)


def test_a_script_that_is_too_long_for_slurm_is_refused():
    with pytest.raises(LauncherError, match="too long"):
        batch_with(environment={"A": "x" * (5 * 1024 * 1024)})


def test_the_real_starter_can_be_in_a_script():
    text = batch_with(starter=starter_source()).text
    assert subprocess.run(["/bin/bash", "-n"], input=text, text=True).returncode == 0


# --- setup


@pytest.mark.parametrize(
    ("prologue", "failure"),
    [
        ("true", ""),
        ("export A=1\ncd /", ""),
        ("false", "The prologue of the profile failed (exit code 1)."),
        ("exit 3", "The prologue of the profile ended the script (exit code 3)."),
        ("set -eu\nls /no/such/file\ntrue", "The prologue of the profile ended the script (exit code 2)."),
        ('if true; then echo "', "The prologue of the profile failed (exit code 2)."),
        ("cat <<X", ""),
        ("set -u; true", ""),
        ("true # TOWPATH_END_OF_STARTER", ""),
        ("true\r\ntrue\r\n", ""),
    ],
)
def test_a_failing_prologue_is_reported_and_others_run_unchanged(prologue, failure):
    told, spec, _, _ = run(batch_with(setup=Setup(prologue=prologue)))
    assert told == failure
    assert spec["command"]


def test_the_output_of_a_prologue_is_in_the_log():
    _, _, before, _ = run(batch_with(setup=Setup(prologue="echo out; echo err >&2")))
    assert before == "out\nerr\n"


@pytest.mark.parametrize("line", ["#SBATCH --uid=0", "  #PBS -q x", "#BSUB x"])
def test_a_prologue_with_options_for_a_scheduler_is_refused(line):
    with pytest.raises(LauncherError, match="option for the scheduler"):
        batch_with(setup=Setup(prologue=f"true\n{line}\n"))


@settings(deadline=None, max_examples=25)
@given(hostile.filter(lambda name: name and not set(name) & MARKS))
def test_names_of_environments_are_words_and_not_shell(name):
    for setup in (Setup(modules=(name,)), Setup(conda=name), Setup(venv=name)):
        try:
            batch = batch_with(setup=setup)
        except LauncherError:
            assert name.startswith("-")
            continue
        told, _, _, _ = run(batch)
        if not (setup.venv and Path(name, "bin").is_dir()):
            assert told.startswith(("This node has no", "There is no virtual environment", "The module"))


def test_modules_are_loaded_in_order_and_a_missing_one_is_reported():
    prologue = 'module() { echo "$@"; [ "$2" != gone/1 ]; }; export -f module'
    batch = batch_with(setup=Setup(modules=("python/3.11", "gone/1", "never")))
    text = batch.text.replace("type module", f"{prologue}; type module", 1)
    told, _, before, _ = run(Batch(options=(), environment=batch.environment, body=text))
    assert before == "load python/3.11\nload gone/1\n"
    assert told == "The module gone/1 could not be loaded (exit code 1)."


def test_a_virtual_environment_comes_first_on_the_path():
    tell = TELL.replace('"\\x02"', 'os.environ["PATH"] + " " + os.environ["VIRTUAL_ENV"] + "\\x02"')
    setup = Setup(prologue='mkdir -p "$HOME/my env/bin"', venv="~/my env")
    told, spec, before, _ = run(batch_with(setup=setup, starter=tell), {"my env", "bin"})
    path, _, folder = before.partition(":/usr/local/bin:/usr/bin:/bin ")
    assert told == ""
    assert path == f"{folder}/bin"
    assert folder.endswith("/my env")


def test_an_image_runs_the_command_and_sees_what_it_is_given():
    setup = Setup(image="/images/lab.sif", binds=("/data", "/scratch:/s:ro"))
    batch = batch_with(command=("jupyter", "lab"), setup=setup)
    told, spec, _, _ = run(batch)
    assert told == "Apptainer is not installed on this node."
    assert spec["command"] == [
        "apptainer",
        "exec",
        "--bind=/data",
        "--bind=/scratch:/s:ro",
        "/images/lab.sif",
        "jupyter",
        "lab",
    ]


@pytest.mark.parametrize("setup", [Setup(image="lab.sif"), Setup(image="/a", binds=("/a,/etc",)), Setup(image="-x")])
def test_an_image_and_its_binds_are_whole_paths(setup):
    with pytest.raises(LauncherError):
        batch_with(setup=setup)


def test_a_home_that_is_no_plain_path_is_not_written_into_an_option():
    odd = replace(ALICE, home="/home/a b")
    assert "chdir" not in dict(batch(job(record=record()), odd, comment="x", starter="").options)
