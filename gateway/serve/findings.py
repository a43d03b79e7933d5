"""What `towpath check` has found, row by row."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One row of the table.

    `doubt`: it works, but the admin should know about it. `passing`: it does not work now, but may later with the same
    configuration, so that a hub starts all the same.
    """

    part: str
    good: bool
    text: str
    doubt: bool = False
    passing: bool = False

    def row(self, width: int) -> str:
        """Return the row; `width`: of the column of parts."""
        label = "FAIL" if not self.good else "WARN" if self.doubt else "ok  "
        return f"{label}  {self.part:<{width}}  {self.text}"
