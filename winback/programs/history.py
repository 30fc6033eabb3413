"""What the ledger knows about programs, and what follows for their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from winback.programs.problems import Problem, found
from winback.programs.schema import Program
from winback.programs.source import Source
from winback.programs.surroundings import Surroundings

if TYPE_CHECKING:
    from winback.ledger import Ledger


def enrolled_programs(ledger: Ledger) -> set[str]:
    """Programs that have ever enrolled someone."""
    import sqlalchemy as sa

    from winback.ledger.tables import enrolments

    return {row[0] for row in ledger.read(sa.select(enrolments.c.program).distinct())}


def check_history(around: Surroundings, sources: Mapping[str, tuple[Source, Program]], ledger: Ledger) -> Iterable[Problem]:
    """Changes that the past forbids: deleting a program that has enrolled someone, making one that ran a draft, reviving a retired one."""
    statuses = ledger.statuses()
    enrolled = enrolled_programs(ledger)
    for name in sorted(enrolled - set(around.programs)):
        if statuses.get(name) != "retired":
            yield Problem(
                f"{around.label}/{name}.yml",
                0,
                "",
                "is gone, and customers are or were in this program; bring the file back and write status: retired "
                "(once a run has seen that, the file may go)",
            )
    for name, (source, program) in sources.items():
        before = statuses.get(name)
        if before == "retired" and program.status != "retired":
            yield source.problem(
                ("status",),
                f"found {found(program.status)}, and the program was retired for good; allowed: retired, or copy it under a new name",
            )
        elif program.status == "draft" and before in ("live", "paused") and name in enrolled:
            yield source.problem(("status",), 'found "draft", and customers are or were in this program; allowed: live, paused, retired')
