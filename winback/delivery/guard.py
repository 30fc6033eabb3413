"""The guard of a sender's good name: a program whose recipients complain, leave or bounce too often sends no more email.

Mailbox providers publish what they bear (see docs/deliverability.md). The dispatcher looks at the start of every pass and writes a pause
into the audit trail; the models read it there, so the next plan holds the program's email back too. Only a person takes a pause back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb
import sqlalchemy as sa

from winback.delivery.rules import Rules
from winback.errors import BadInput
from winback.ledger import Ledger
from winback.ledger.tables import audit_trail

PAUSED = "pause_email"
RESUMED = "resume_email"

_COUNTS = """
with resumed as (
    select subject as program, max(recorded_at) as resumed_at from ledger.audit_trail where act = $resumed group by subject
),
sent as (
    select messages.program, messages.message_id
    from ledger.outcomes as outcomes
    join ledger.messages as messages on messages.message_id = outcomes.item_id
    left join resumed on resumed.program = messages.program
    where messages.channel = 'email' and outcomes.outcome = 'accepted'
        and outcomes.recorded_at <= $now and outcomes.recorded_at > $now - to_days($days)
        and (resumed.resumed_at is null or outcomes.recorded_at > resumed.resumed_at)
    group by all
),
told as (
    select message_id, bool_or(event_type = 'bounced') as bounced, bool_or(event_type = 'complained') as complained,
        bool_or(event_type = 'unsubscribed') as unsubscribed
    from ledger.delivery_events
    where event_type in ('bounced', 'complained', 'unsubscribed') and recorded_at <= $now
        and message_id in (select message_id from sent)
    group by message_id
)
select program, count(*), count(*) filter (bounced), count(*) filter (complained), count(*) filter (unsubscribed)
from sent
left join told using (message_id)
group by program
order by program
"""


@dataclass(frozen=True, slots=True)
class EmailHealth:
    """What became of a program's email in the window, in messages. `paused_at`: since when its email is paused.

    `level`: too_few to say, well, warning (complaints), or limit (one of the limits is reached).
    """

    program: str
    sent: int = 0
    bounced: int = 0
    complained: int = 0
    unsubscribed: int = 0
    level: Literal["too_few", "well", "warning", "limit"] = "too_few"
    reason: str = ""
    paused_at: datetime | None = None

    @property
    def reached(self) -> int:
        """Messages sent and not returned: the denominator of complaints and unsubscriptions."""
        return self.sent - self.bounced

    def details(self) -> dict[str, Any]:
        """Counts for the audit trail."""
        counts = {"sent": self.sent, "bounced": self.bounced, "complained": self.complained, "unsubscribed": self.unsubscribed}
        return {"reason": self.reason, **counts}


def email_pauses(ledger: Ledger) -> dict[str, datetime]:
    """The programs whose email is paused, with the instant of the pause."""
    trail = audit_trail
    acts = sa.select(trail.c.subject, trail.c.act, trail.c.recorded_at).where(trail.c.act.in_((PAUSED, RESUMED))).order_by(trail.c.seq)
    latest = {row.subject: row for row in ledger.read(acts)}
    return {program: row.recorded_at for program, row in latest.items() if row.act == PAUSED}


def email_health(connection: duckdb.DuckDBPyConnection, ledger: Ledger, rules: Rules, now: datetime) -> list[EmailHealth]:
    """How each program's email fares that was sent in the window, or is paused. Reads schema `ledger` of the warehouse."""
    pauses = email_pauses(ledger)
    values = {"now": now, "days": rules.email_guard_window_days, "resumed": RESUMED}
    counted = {row[0]: row for row in connection.execute(_COUNTS, values).fetchall()}
    found = []
    for program in sorted(counted.keys() | pauses.keys()):
        _, sent, bounced, complained, unsubscribed = counted.get(program, (program, 0, 0, 0, 0))
        level, reason = _judged(rules, sent, bounced, complained, unsubscribed)
        found.append(EmailHealth(program, sent, bounced, complained, unsubscribed, level, reason, pauses.get(program)))
    return found


def _judged(
    rules: Rules, sent: int, bounced: int, complained: int, unsubscribed: int
) -> tuple[Literal["too_few", "well", "warning", "limit"], str]:
    reached = sent - bounced
    if sent < rules.email_guard_sent_at_least:
        return "too_few", ""
    cases = (
        ("complaints", complained, reached, "reached", rules.email_complaint_limit_percentage),
        ("bounces", bounced, sent, "sent", rules.email_bounce_limit_percentage),
        ("unsubscriptions", unsubscribed, reached, "reached", rules.email_unsubscribe_limit_percentage),
    )
    for name, count, of, what, limit in cases:
        if count >= rules.email_guard_cases_at_least and 100 * count >= limit * of:
            return "limit", f"{count:,} {name} of {of:,} messages {what} ({_percent(count, of)}, the limit is {limit:g}%)"
    warn_at = rules.email_complaint_warning_percentage
    if complained >= rules.email_guard_cases_at_least and 100 * complained >= warn_at * reached:
        return "warning", f"{complained:,} complaints of {reached:,} messages reached ({_percent(complained, reached)})"
    return "well", ""


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.2f}%" if of else "all"


def pause_where_needed(connection: duckdb.DuckDBPyConnection, ledger: Ledger, rules: Rules, now: datetime) -> list[str]:
    """Pause the email of programs that have reached a limit; returns those that were not paused before."""
    reached = [one for one in email_health(connection, ledger, rules, now) if one.level == "limit" and one.paused_at is None]
    for one in reached:
        ledger.audit(PAUSED, actor="winback", subject=one.program, details=one.details(), now=now)
    return [one.program for one in reached]


def resume_email(ledger: Ledger, program: str, *, by: str, reason: str, now: datetime) -> datetime:
    """Take a pause back, in the audit trail; counting begins anew. Returns since when the email was paused.

    Raises
    ------
    BadInput
        The program's email is not paused.
    """
    pauses = email_pauses(ledger)
    if program not in pauses:
        known = ", ".join(sorted(pauses)) or "none is"
        raise BadInput(f"The email of program {program!r} is not paused; paused: {known}. winback programs list shows it.")
    details = {"reason": reason, "paused_at": pauses[program].isoformat(" ")}
    ledger.audit(RESUMED, actor=by, subject=program, details=details, now=now)
    return pauses[program]
