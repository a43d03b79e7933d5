"""Fuzz with coverage: `make fuzz`, or `make fuzz ARGS="path --seconds 600"`.

New inputs that reach new code are kept in `.cache/fuzz/TARGET/`. An input that fails is printed, and kept in
`.cache/fuzz/`: fix the fault, and put the input into `tests/fuzz/corpus/TARGET/`, which the tests run.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
KEPT = ROOT / ".cache" / "fuzz"
MAX_LENGTH = 4096


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return fuzz(given.target[0], given.seconds)
    names = given.target or sorted(entry.name for entry in CORPUS.iterdir())
    failed = []
    for name in names:
        print(f"Fuzzing {name} for {given.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(given.seconds)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    for name in failed:
        print(f"{name} failed: see above, and {KEPT}")
    return 1 if failed else 0


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one target, in this process; libFuzzer ends the process."""
    with atheris.instrument_imports(include=["gateway"]):
        from tests.fuzz.targets import TARGETS  # here, so that it is instrumented
    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={KEPT}/{name}-", str(kept), str(CORPUS / name)], TARGETS[name]
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
