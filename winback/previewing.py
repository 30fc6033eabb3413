"""What a program's file would do, as it stands: the waterfall, the messages, and nothing is recorded or sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from winback.errors import BadConfig, RejectItem
from winback.ledger import open_ledger
from winback.programs import CUSTOMER_COLUMNS, LoadedPrograms, links_for, load_programs, render, write_tables
from winback.progress import tell
from winback.scratch import derived_as_of, program_draft_derived
from winback.settings import Settings
from winback.warehouse import open_warehouse

_MESSAGES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class WaterfallRow:
    """People of the audience by what becomes of them: with the program in force, and with its file as it stands."""

    reason: str
    in_force: int
    previewed: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the file. `day_in_force` is its day in the version in force, None where that has no such step."""

    step_no: int
    day: int
    day_in_force: int | None
    content: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """How many of the program's messages or tasks would go out on this day, or wait, by step and channel."""

    step_no: int
    day: int
    content: str
    channel: str | None
    decision: str
    reason: str | None
    customers: int


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """One message as one real customer would get it; the address stays out."""

    step_no: int
    channel: str
    customer_id: str
    subject: str
    preheader: str
    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """All of a preview. `audience`: members with the file as it stands; `notices`: what must be said beside figures."""

    program: str
    status: str
    as_of: datetime
    audience: int
    waterfall: tuple[WaterfallRow, ...]
    schedule: tuple[Step, ...]
    sends: tuple[Send, ...]
    messages: tuple[SampleMessage, ...]
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(settings: Settings, program: str) -> Preview:
    """Derive the last derived day again with the file of `program` as it stands.

    Raises
    ------
    BadConfig
        The program does not exist, or programs/ has problems: all of them.
    BadInput
        No day has been derived yet.
    """
    with open_ledger(settings) as ledger:
        loaded = load_programs(settings, ledger)
        if program not in loaded.programs:
            raise BadConfig(f"There is no program {program!r} in {settings.programs_dir}. There are: {', '.join(sorted(loaded.programs))}.")
        with open_warehouse(settings) as connection:
            as_of = derived_as_of(connection)
            write_tables(loaded, ledger, connection, as_of)
    tell(f"deriving {program} as its file stands")
    with program_draft_derived(settings, program, as_of) as connection:
        waterfall = _waterfall(connection, program)
        return Preview(
            program=program,
            status=loaded.programs[program].status,
            as_of=as_of,
            audience=sum(row.previewed for row in waterfall),
            waterfall=waterfall,
            schedule=_schedule(connection, program, loaded),
            sends=_sends(connection, program),
            messages=_messages(connection, loaded, program, as_of.date()),
            notices=tuple(note for (note,) in connection.execute("select note from raw.source_notes order by 1").fetchall()),
        )


def _waterfall(connection: duckdb.DuckDBPyConnection, program: str) -> tuple[WaterfallRow, ...]:
    rows = connection.execute(
        """
        select
            reason,
            coalesce(sum(customers) filter (where not previewed), 0)::integer as in_force,
            coalesce(sum(customers) filter (where previewed), 0)::integer as previewed
        from (
            select reason, position, customers, false as previewed from marts.admission_waterfall where program = $program
            union all
            select reason, position, customers, true as previewed from preview_marts.admission_waterfall where program = $program
        )
        group by reason
        order by min(position), reason
        """,
        {"program": program},
    ).fetchall()
    return tuple(WaterfallRow(*row) for row in rows)


def _schedule(connection: duckdb.DuckDBPyConnection, program: str, loaded: LoadedPrograms) -> tuple[Step, ...]:
    in_force = dict(
        connection.execute(
            """
            select steps.step_no, steps.day
            from staging.stg_programs__steps as steps
            inner join staging.stg_programs__in_force as versions using (program, version)
            where steps.program = $program
            """,
            {"program": program},
        ).fetchall()
    )
    return tuple(
        Step(number, step.day, in_force.get(number), step.send or step.task or "", tuple(step.channels or ()))
        for number, step in enumerate(loaded.programs[program].steps, start=1)
    )


def _sends(connection: duckdb.DuckDBPyConnection, program: str) -> tuple[Send, ...]:
    rows = connection.execute(
        """
        select actions.step_no, steps.day, actions.content, actions.channel, actions.decision, actions.reason, count(*)
        from preview_marts.journey_actions as actions
        -- Those inside finish the version they entered: its days, not the file's.
        inner join preview_staging.stg_programs__steps as steps using (program, version, step_no)
        where actions.program = $program
        group by all
        order by actions.step_no, steps.day, actions.decision, actions.channel nulls last, actions.reason nulls first
        """,
        {"program": program},
    ).fetchall()
    return tuple(Send(*row) for row in rows)


def _messages(connection: duckdb.DuckDBPyConnection, loaded: LoadedPrograms, program: str, today: date) -> tuple[SampleMessage, ...]:
    """The first messages of the program, each for the most valuable customer whom its first reachable channel reaches."""
    definition = loaded.definitions[program]
    columns = ", ".join(f"{'contacts' if name in _CONTACT_COLUMNS else 'customers'}.{name}" for name in CUSTOMER_COLUMNS)
    samples: list[SampleMessage] = []
    for step_no, step in enumerate(definition.program.steps, start=1):
        if step.send is None or len(samples) == _MESSAGES_SHOWN:
            continue
        for channel in step.channels or []:
            found = connection.execute(
                f"""
                select customers.customer_id, {columns}
                from marts.customers as customers
                inner join intermediate.int_customers__contacts as contacts on customers.customer_id = contacts.customer_id
                left join preview_marts.journey_admissions as admissions
                    on customers.customer_id = admissions.customer_id and admissions.program = $program
                where customers.reachable_{channel}
                order by
                    (admissions.decision is not distinct from 'admitted') desc,
                    (admissions.decision is not null) desc,
                    customers.lifetime_value desc,
                    customers.customer_id
                offset $skipped limit 1
                """,
                {"program": program, "skipped": len(samples)},
            )
            names = [column[0] for column in found.description]
            row = found.fetchone()
            if row is None:
                continue
            customer = dict(zip(names, row, strict=True))
            terms = definition.program.offer
            offer = definition.issue_offer(terms.code or "SAMPLE-CODE", today) if terms else None
            try:
                rendered = render(definition, step.send, channel, customer, loaded.brand, links_for(loaded.brand, "preview"), offer)
            except RejectItem:
                continue
            samples.append(
                SampleMessage(
                    step_no, channel, customer["customer_id"], rendered.subject or rendered.title, rendered.preheader, rendered.text
                )
            )
            break
    return tuple(samples)


_CONTACT_COLUMNS = frozenset({"first_name", "last_name", "language", "country", "extras"})
