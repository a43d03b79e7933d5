"""docs/performance.md has two authors, `make bench` and `make bench-slurm`: each writes its own part. Pure."""

MARK = "<!-- What follows is written by make bench-slurm, what stands above by make bench. -->\n"


def with_first(page: str, text: str) -> str:
    """The page with `make bench`'s part replaced."""
    _, mark, second = page.partition(MARK)
    return text + (f"\n{mark}{second}" if mark else "")


def with_second(page: str, text: str) -> str:
    """The page with `make bench-slurm`'s part replaced."""
    first = page.partition(MARK)[0].rstrip("\n")
    return (f"{first}\n\n" if first else "") + MARK + text
