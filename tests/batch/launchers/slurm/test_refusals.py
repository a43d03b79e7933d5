"""The messages for what Slurm refuses, and which refusals are transient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.launchers.slurm.messages.refusals import TABLE, plain, refused

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
CONNECT = FAILED + "Unable to contact slurm controller (connect failure)"

# What sbatch of 22.05.8 printed on a real cluster, and what is made of it: (text, code, field, transient).
SEEN = [
    (FAILED + "Invalid account or account/partition combination specified", "account", "account", False),
    (FAILED + "Invalid qos specification", "qos", "qos", False),
    (
        "sbatch: error: invalid partition specified: nosuch\n" + FAILED + "Invalid partition name specified",
        "partition",
        "partition",
        False,
    ),
    (FAILED + "Requested node configuration is not available", "nodes", "partition", False),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available",
        "memory",
        "memory",
        False,
    ),
    (FAILED + "Invalid feature specification", "constraint", "constraint", False),
    (FAILED + "Requested reservation is invalid", "reservation", "reservation", False),
    (FAILED + "Access denied to requested reservation", "reservation", "reservation", False),
    ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY, "QOSMaxWallDurationPerJobLimit", "walltime", False),
    ("sbatch: error: AssocMaxSubmitJobLimit\n" + POLICY, "AssocMaxSubmitJobLimit", "account", False),
    ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY, "QOSMaxSubmitJobPerUserLimit", "qos", False),
    ("sbatch: error: QOSMaxGRESPerUser\n" + POLICY, "QOSMaxGRESPerUser", "qos", False),
    (POLICY, "limit", "qos", False),
    ("sbatch: error: Invalid generic resource (gres) specification", "gpus", "gpus", False),
    (FAILED + "Invalid license specification", "licences", "", False),
    (FAILED + "Invalid node name specified", "nodes", "", False),
    (FAILED + "Required partition not available (inactive or drain)", "partition-closed", "partition", False),
    (FAILED + "User's group not permitted to use this partition", "partition-groups", "partition", False),
    (CONNECT, "scheduler-away", "", True),
    (
        "sbatch: error: If munged is up, restart with --num-threads=10\n"
        'sbatch: error: Munge encode failed: Failed to access "/run/munge/socket": No such file or directory\n'
        "sbatch: error: slurm_send_node_msg: auth_g_create: REQUEST_SUBMIT_BATCH_JOB has authentication error\n"
        + FAILED
        + "Protocol authentication error",
        "authentication",
        "",
        True,
    ),
    (FAILED + "Socket timed out on send/recv operation", "scheduler-busy", "", True),
]


@pytest.mark.parametrize(("text", "code", "field", "transient"), SEEN)
def test_errors_of_sbatch_are_understood(text, code, field, transient):
    error = refused(text, qos="gpuq")
    assert (error.code, error.field, error.transient) == (code, field, transient)
    assert "sbatch" not in str(error)


@pytest.mark.parametrize(
    ("number", "code", "transient"),
    [
        (2045, "account", False),
        (2066, "qos", False),
        (2000, "partition", False),
        (2014, "nodes", False),
        (2044, "memory", False),
        (2050, "limit", False),
        (2051, "walltime", False),
        (2072, "gpus", False),
        (1800, "scheduler-away", True),
        (1007, "authentication", True),
        (7000, "accounting-away", True),
        (5004, "scheduler-busy", True),
    ],
)
def test_slurmrestds_numbers_say_the_same(number, code, transient):
    error = refused(number=number)
    assert (error.code, error.transient) == (code, transient)


def test_a_limits_name_tells_more_than_its_number():
    error = refused("Batch job submission failed: QOSMaxGRESPerUser", number=2050, qos="gpuq")
    assert str(error) == "With this job, you would use more GPUs than QOS gpuq allows each user."
    assert "Or ask for fewer" in error.hint


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.code}: {row.message}")
def test_every_row_has_whole_sentences(row):
    for words in (row.message, row.hint):
        assert words.endswith(".")
        assert words[0].isupper()
    assert row.numbers
    assert row.texts
    assert all(text == text.lower() for text in row.texts)


def test_no_number_is_in_two_rows():
    numbers = [number for row in TABLE for number in row.numbers]
    assert len(numbers) == len(set(numbers))


def test_each_text_leads_to_its_own_row():
    for row in TABLE:
        for text in row.texts:
            assert refused(f"sbatch: error: {text.title()}").code == row.code


# What sbatch of 22.05.8, 24.11.5 and 26.05.5 printed with job_submit.lua and cli_filter.lua (tests/cluster/test_facts_refusals.py):
# (text, message, code, field).
SITES = [
    (
        "sbatch: error: Please set a time limit.\nsbatch: error: See https://hpc.example.org/limits (für alle).\n"
        + FAILED
        + "Unspecified error",
        "Please set a time limit. See https://hpc.example.org/limits (für alle).",
        "site",
        "walltime",
    ),
    (
        "sbatch: error: Projects end on 31 December: choose another one\nsbatch: error: More: hpc.example.org\n"
        + FAILED
        + "Invalid account or account/partition combination specified",
        (
            "Projects end on 31 December: choose another one More: hpc.example.org."
            " You cannot use this account, or not in this partition."
        ),
        "account",
        "account",
    ),
    (
        "sbatch: error: Note: odd is being renamed.\nsbatch: error: QOSMaxMemoryPerNode\n" + POLICY,
        "Note: odd is being renamed. The job asks for more memory than QOS gpuq allows on each node.",
        "QOSMaxMemoryPerNode",
        "memory",
    ),
    (
        (
            "sbatch: error: lua: The site wants no 77 MB jobs.\nsbatch: lua: an info line\n"
            "sbatch: error: cli_filter plugin terminated with error"
        ),
        "The site wants no 77 MB jobs.",
        "site",
        "",
    ),
    (
        FAILED + "Unspecified error",
        "A rule of this cluster refuses the job, and gives no reason.",
        "site",
        "",
    ),
    (
        "sbatch: error: GPU jobs run in the partition gpu.\n"
        + FAILED
        + "Requested node configuration is not available",
        "GPU jobs run in the partition gpu. No node of this partition has what the job asks for.",
        "nodes",
        "gpus",
    ),
]


@pytest.mark.parametrize(("text", "message", "code", "field"), SITES)
def test_the_sites_own_words_come_first_beside_the_field_that_they_are_about(text, message, code, field):
    error = refused(text, qos="gpuq")
    assert (str(error), error.code, error.field, error.transient) == (message, code, field, False)
    assert error.hint.endswith(".")


def test_the_sites_words_from_slurmrestd_come_first():
    error = refused("Unspecified error", number=-1, site="Please set a time limit.\nThank you!")
    assert (str(error), error.code, error.field) == ("Please set a time limit. Thank you!", "site", "walltime")
    error = refused("Invalid qos specification", number=2066, site="Ask for it first.")
    assert (str(error), error.field) == ("Ask for it first. You cannot use this QOS.", "qos")


@pytest.mark.parametrize(
    "text",
    [
        CONNECT,
        "sbatch: error: slurm_receive_msg: Zero Bytes were transmitted or received\n" + CONNECT,
        "sbatch: error: something about the network\n" + CONNECT,
    ],
)
def test_errors_of_slurm_itself_are_no_message_of_the_site(text):
    assert str(refused(text)) in ("Slurm does not respond.", "Slurm is very busy.")
    assert refused(text).transient


@given(st.text(), st.sampled_from([FAILED + "Unspecified error", POLICY, CONNECT, ""]))
def test_a_sites_message_is_printable_and_of_limited_length(said, end):
    text = "".join(f"sbatch: error: {line}\n" for line in said.splitlines()) + end
    error = refused(text, site=said)
    assert str(error).isprintable()
    assert len(str(error)) < 1500


def test_unknown_errors_are_quoted_and_not_retried():
    error = refused(FAILED + "The moon is in the wrong phase")
    assert str(error) == "Slurm refuses this: The moon is in the wrong phase."
    assert not error.transient
    assert str(refused(number=31999)) == "Slurm refuses this: error 31999."
    assert str(refused()) == "Slurm refuses this: no reason given."


@given(st.text(), st.one_of(st.none(), st.integers()))
def test_any_output_of_slurm_becomes_an_error_with_a_message(text, number):
    error = refused(text, number=number)
    assert str(error).endswith(".")
    assert "\n" not in str(error)
    assert len(str(error)) < 1500


@given(st.text())
def test_plain_words_hold_no_control_characters(text):
    assert plain(text).isprintable()


@pytest.mark.parametrize("name", ["QOSMaxCpuPerJobLimit", "AssocMaxGRESPerJob", "QOSGrpCPUMinutesLimit", "QOSMinGRES"])
def test_the_hint_for_a_refused_job_does_not_say_to_cancel_it(name):
    error = refused(
        f"sbatch: error: {name}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    )
    assert error.code == name
    assert "ancel" not in error.hint
