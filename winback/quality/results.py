"""What a check found, and what stops the day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from winback.errors import StopRun


@dataclass(frozen=True)
class CheckResult:
    """One check on one raw table.

    Attributes
    ----------
    passed : bool
        Nothing unexpected was found.
    blocking : bool
        A failure of this extent must stop the day. Always False where `passed`.
    checked_count, unexpected_count : int
        Rows looked at, and those among them that are not as expected.
    observed : str
        What was found, in one short phrase.
    sample_keys : tuple of str
        Up to ten keys of unexpected rows (ids, file names and row numbers: never an address, name or token).
    """

    name: str
    table: str
    passed: bool
    blocking: bool
    checked_count: int
    unexpected_count: int
    observed: str
    sample_keys: tuple[str, ...]
    description: str
    damage: str

    def as_dict(self) -> dict[str, Any]:
        """For machines: the attributes, with a list of samples."""
        return asdict(self) | {"sample_keys": list(self.sample_keys)}

    def line(self) -> str:
        """For people: what is wrong and which rows show it."""
        samples = f" (for example {', '.join(self.sample_keys[:5])})" if self.sample_keys else ""
        return f"{self.name}: {self.observed}{samples}"


def require_passed(results: Iterable[CheckResult]) -> None:
    """Stop the day where a blocking check failed.

    Raises
    ------
    StopRun
        Names each blocking failure, its count, sample keys and the damage that going on would do.
    """
    blocked = [result for result in results if result.blocking]
    if not blocked:
        return
    lines = [f"  {result.line()}. Going on would do harm: {result.damage}" for result in blocked]
    raise StopRun(
        "The raw data failed "
        + ("a blocking check" if len(blocked) == 1 else f"{len(blocked)} blocking checks")
        + ". Nothing was derived and nothing was sent.\n"
        + "\n".join(lines)
        + "\nCorrect the source and drop the file again, or change the limits in sources/checks.yml (docs/checks.md)."
    )
