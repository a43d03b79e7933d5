"""docs/security.md lists every known flaw of comparable products, with a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "security.md"
IDS = [
    "CVE-2019-10255",
    "CVE-2026-33709",
    "GHSA-3vff-hjqv-m7h8",
    "CVE-2026-40864",
    "GHSA-m68r-v472-jgq9",
    "CVE-2024-28233",
    "GHSA-7r3h-4ph8-w38g",
    "CVE-2024-41942",
    "GHSA-9x4q-3gxw-849f",
    "CVE-2026-54338",
    "GHSA-p43p-whwx-q52h",
    "GHSA-c4gm-pwx9-9w8j",
    "GHSA-69wv-m5fw-2fhp",
    "GHSA-hx46-2cv3-mh6g",
    "GHSA-93gc-h923-mp36",
    "GHSA-x7xh-7hc7-9436",
    "GHSA-pvm9-48cg-w76j",
    "GHSA-5jhc-4h3c-q97h",
    "GHSA-r764-xgvf-jrfj",
    "GHSA-cw7p-q79f-m2v7",
    "CVE-2026-33175",
    "GHSA-rrvg-cxh4-qhrv",
    "GHSA-gprj-3p75-f996",
    "GHSA-55m3-44xf-hg4h",
    "CVE-2022-31027",
    "GHSA-r7v4-jwx9-wx43",
    "GHSA-384w-5v3f-q499",
    "CVE-2018-7206",
    "CVE-2024-28179",
    "GHSA-w3vc-fx9p-wp4v",
    "CVE-2024-35225",
    "GHSA-fvcq-4x64-hqxr",
    "GHSA-gcv9-6737-pjqw",
    "CVE-2026-40934",
    "CVE-2026-40110",
    "CVE-2021-41194",
    "CVE-2023-48311",
    "CVE-2020-15110",
    "CVE-2020-26261",
    "GHSA-cfw7-6c5v-2wjq",
    "CVE-2026-55171",
    "CVE-2026-55172",
    "CVE-2026-55169",
    "CVE-2026-26002",
    "CVE-2025-62724",
    "CVE-2025-53636",
    "CVE-2025-58435",
    "GHSA-xcv4-m435-m33h",
]
UNNAMED = (
    *("nativeauth #21", "ltiauthenticator", "nbconvert", "Enterprise Gateway", "batchspawner", "request smuggling"),
    *(
        "HTTP/2 downgrade",
        "hop-by-hop",
        "X-Forwarded",
        "Host confusion",
        "path confusion",
        "Set-Cookie",
        "WebSocket origin",
    ),
    *("SSRF", "response splitting", "session fixation", "token in a URL", "XSRF", "secrets in logs", "log injection"),
    "clickjacking",
)
"""Flaws without a number, as the table names them."""


def rows():
    """Return the first cell of each row of the table, with the tests of its last cell."""
    found = {}
    for line in TABLE.read_text().split("## Known flaws", 1)[1].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[2].startswith("`"):
            found[cells[0]] = re.findall(r"`([a-z_0-9/]+\.py)(?:::([a-z_0-9]+))?`", cells[2])
    return found


def test_every_flaw_is_in_the_table():
    named = " ".join(rows())
    assert [one for one in IDS if one not in named] == []
    assert [one for one in UNNAMED if one.lower() not in named.lower()] == []


def test_every_test_in_the_table_exists():
    for what, tests in rows().items():
        assert tests, what
        for path, name in tests:
            text = (ROOT / "tests" / path).read_text()
            assert f"def {name}" in text if name else "def test_" in text, (what, path, name)


def test_every_numbered_flaw_has_a_test_named_after_it():
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    called = "\n".join(re.findall(r"def (test_\w+)", text))
    assert [one for one in IDS if one.lower().replace("-", "_") not in called] == []
