"""docs/performance.md has two parts, written by `make bench` and `make bench-slurm`. Pure."""

MARK = "<!-- The following part is written by make bench-slurm, the preceding part by make bench. -->\n"


def with_first(page: str, text: str) -> str:
    """Return the page with the part of `make bench` replaced."""
    _, mark, second = page.partition(MARK)
    return text + (f"\n{mark}{second}" if mark else "")


def with_second(page: str, text: str) -> str:
    """Return the page with the part of `make bench-slurm` replaced."""
    first = page.partition(MARK)[0].rstrip("\n")
    return (f"{first}\n\n" if first else "") + MARK + text
