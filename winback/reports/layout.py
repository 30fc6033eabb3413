"""The report as sections of text, chart and table, which Markdown and HTML then write out."""

from __future__ import annotations

from dataclasses import dataclass

from winback.charts import Chart, bars, columns
from winback.reports import wording
from winback.reports.figures import LEADING_THRESHOLD_DAYS, OUTCOMES, Figures, Sent, WinBack
from winback.reports.wording import plain

Cell = str | int


@dataclass(frozen=True)
class Table:
    """Rows under headings; whole numbers are right-aligned."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading, what the figures mean, and the figures."""

    title: str
    text: str
    chart: Chart | None
    tables: tuple[Table, ...]


def sections(figures: Figures) -> list[Section]:
    """The report, top to bottom."""
    return [
        _customers(figures),
        _audiences(figures),
        _admissions(figures),
        _journeys(figures),
        _steps(figures),
        _sent(figures),
        _ads(figures),
        _lift(figures),
        _win_back(figures),
    ]


def _customers(figures: Figures) -> Section:
    tiers = [(plain(row.name), [float(row.count)]) for row in figures.tiers]
    return Section(
        title="Customers",
        text=f"{figures.customers:,} customers. {wording.WHAT_TIERS_MEAN}",
        chart=bars("tiers", "Customers per engagement tier", tiers),
        tables=(
            Table(("tier", "customers"), tuple((plain(row.name), row.count) for row in figures.tiers)),
            Table(("purchase lifecycle", "customers"), tuple((plain(row.name), row.count) for row in figures.lifecycle)),
            Table(("reachable by", "customers"), tuple((plain(row.name), row.count) for row in figures.reachable)),
        ),
    )


def _audiences(figures: Figures) -> Section:
    return Section(
        title="Audiences",
        text="Who is lapsing now. A customer can be in several.",
        chart=bars("audiences", "Members per audience", [(plain(row.name), [float(row.count)]) for row in figures.audiences]),
        tables=(Table(("audience", "members"), tuple((plain(row.name), row.count) for row in figures.audiences)),),
    )


def _admissions(figures: Figures) -> Section:
    blocked = figures.blocked()
    waterfall = [
        ("in audiences", figures.considered),
        *((f"− {plain(row.name)}", row.count) for row in blocked),
        ("admitted", figures.admitted),
    ]
    styles = ["s2", *("s1" for _ in blocked), "s0"]
    return Section(
        title="Admissions",
        text=wording.WHAT_WATERFALL_MEANS,
        chart=bars(
            "admissions", "From audience to admitted, all live programs", [(name, [count]) for name, count in waterfall], styles=styles
        ),
        tables=(
            Table(
                ("program", "version", "audience", "admitted", "held out of these", "blocked", "why"),
                tuple(
                    (
                        row.program,
                        row.version,
                        row.audience,
                        row.admitted,
                        row.holdout,
                        row.audience - row.admitted,
                        wording.listed(row.blocked),
                    )
                    for row in figures.admissions
                ),
            ),
        ),
    )


def _journeys(figures: Figures) -> Section:
    return Section(
        title="Journeys",
        text="Everybody who has entered since the program began. Held out: left alone for comparison, on the same steps without a message.",
        chart=None,
        tables=(
            Table(
                ("program", "started", "held out of these", "open", "completed", "exited", "why"),
                tuple(
                    (
                        row.program,
                        row.started,
                        row.holdout,
                        row.open,
                        row.completed,
                        sum(reason.count for reason in row.exited),
                        wording.listed(row.exited),
                    )
                    for row in figures.journeys
                ),
            ),
        ),
    )


def _steps(figures: Figures) -> Section:
    return Section(
        title="Steps due",
        text="What was decided for each step that was due. Withheld: the customer is held out.",
        chart=None,
        tables=(
            Table(
                ("channel", "decision", "customers"),
                tuple((plain(row.channel), wording.decision(row), row.count) for row in figures.decisions),
            ),
        ),
    )


def _sent(figures: Figures) -> Section:
    regret = f" **{wording.regrets(figures)}**: {wording.WHAT_REGRET_MEANS}" if figures.regret_sends_so_far else ""
    rows = [(row.channel, _outcome_series(row)) for row in figures.sent_so_far]
    return Section(
        title="Sent",
        text=f"Messages by their latest outcome. {wording.WHAT_WAITING_MEANS}{regret}",
        chart=bars(
            "sent", "Messages since the beginning", rows, series=("accepted", "waiting or deferred", "skipped", "rejected or unknown")
        ),
        tables=(_outcomes("planned by this day's run", figures.sent_for_day), _outcomes("since the beginning", figures.sent_so_far)),
    )


def _outcome_series(row: Sent) -> list[float]:
    accepted, skipped = row.outcomes.get("accepted", 0), row.outcomes.get("skipped", 0)
    waiting = row.outcomes.get("waiting", 0) + row.outcomes.get("deferred", 0)
    return [float(accepted), float(waiting), float(skipped), float(row.messages - accepted - skipped - waiting)]


def _outcomes(heading: str, rows: list[Sent]) -> Table:
    return Table(
        (heading, "messages", *OUTCOMES),
        tuple((plain(row.channel), row.messages, *(row.outcomes.get(outcome, 0) for outcome in OUTCOMES)) for row in rows),
    )


def _ads(figures: Figures) -> Section:
    return Section(
        title="Ad audiences",
        text=f"Members: who should be in the audience now. Added and removed: by this day's run. {wording.WHAT_REMOVAL_MEANS}",
        chart=None,
        tables=(
            Table(
                ("platform", "program", "members", "added", "removed"),
                tuple((row.platform, row.program, row.members, row.added, row.removed) for row in figures.ad_audiences),
            ),
            Table(
                ("after a purchase", "removed", "by this day's run", "days, median", "days, longest", "still waiting", "days, longest"),
                tuple(
                    (
                        row.platform,
                        row.removed,
                        row.removed_by_run,
                        wording.days(row.days_median),
                        wording.days(row.days_longest),
                        row.waiting,
                        wording.days(row.waiting_days_longest),
                    )
                    for row in figures.ad_removals
                ),
            ),
        ),
    )


def _lift(figures: Figures) -> Section:
    return Section(title="Really won back", text=f"{wording.lift(figures.lift)} {wording.WHAT_INCREMENTAL_MEANS}", chart=None, tables=())


def _win_back(figures: Figures) -> Section:
    points = [(f"{row.month:%b %y}", row.percentage, row.is_mature) for row in figures.win_back]
    return Section(
        title="Won back",
        text=wording.WHAT_WIN_BACK_MEANS,
        chart=columns("win_back", f"Win-back percentage by month, lapsed {LEADING_THRESHOLD_DAYS} days", points, unit="percent"),
        tables=(_months(figures.win_back), _months(figures.win_back_by_threshold)),
    )


def _months(rows: list[WinBack]) -> Table:
    return Table(
        ("month", "lapsed for at least", "lapsed customers", "won back", "win-back percentage", ""),
        tuple(
            (
                f"{row.month:%Y-%m}",
                f"{row.threshold_days} days",
                row.lapsed,
                row.won_back,
                wording.percentage(row),
                "" if row.is_mature else "immature",
            )
            for row in rows
        ),
    )
