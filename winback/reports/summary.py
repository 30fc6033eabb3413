"""What `winback run` and `winback report` print: the figures of the last report, and where to look next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winback.errors import BadInput
from winback.reports import wording
from winback.reports.figures import LEADING_THRESHOLD_DAYS, Figures
from winback.reports.wording import plain
from winback.settings import Settings

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


@dataclass(frozen=True)
class Summary:
    """The figures of one day with the paths of what it left."""

    figures: Figures
    paths: dict[str, Path]

    def as_dict(self) -> dict[str, Any]:
        """For machines: every figure, the plottable numbers, the paths. JSON types only."""
        return {
            **self.figures.model_dump(mode="json"),
            "numbers": self.figures.numbers(),
            "paths": {name: str(path) for name, path in self.paths.items()},
        }

    def renderable(self) -> Group:
        """For people: rich tables that fit 100 columns."""
        from rich.console import Group
        from rich.markup import escape
        from rich.text import Text

        figures = self.figures
        notices = [Text.from_markup(f"[yellow]Notice: {escape(note)}[/]") for note in figures.notes]
        where = [Text.from_markup(f"[bold]{name:<9}[/] {escape(str(path))}") for name, path in self.paths.items()]
        return Group(
            Text.from_markup(f"\n[bold]{figures.day:%A, %Y-%m-%d}[/], everything before {figures.as_of:%Y-%m-%d %H:%M} UTC counted"),
            *notices,
            "",
            *self._customers(),
            self._admissions(),
            self._journeys(),
            self._sent(),
            self._ads(),
            self._ad_removals(),
            f"Really won back\n{wording.lift(figures.lift)}\n",
            self._win_back(),
            *where,
        )

    def _customers(self) -> list[str | Table]:
        figures = self.figures
        audiences = _table("Audiences (a customer can be in several)", "audience", "members")
        for row in figures.audiences:
            audiences.add_row(plain(row.name), f"{row.count:,}")
        tiers = _table(f"{figures.customers:,} customers", "tier", "customers", "share")
        for row in figures.tiers:
            share = 100 * row.count / figures.customers if figures.customers else 0
            tiers.add_row(plain(row.name), f"{row.count:,}", f"{share:.1f}%")
        lifecycle = wording.listed(figures.lifecycle)
        reachable = wording.listed(figures.reachable)
        return [tiers, f"Lifecycle: {lifecycle}\nReachable: {reachable}\n", audiences]

    def _admissions(self) -> Table:
        table = _table(
            "Admissions of this day: the first gate that holds somebody back", "program", "audience", "admitted", "blocked, and why"
        )
        for row in self.figures.admissions:
            table.add_row(plain(row.program), f"{row.audience:,}", wording.admitted(row), wording.listed(row.blocked))
        return table

    def _journeys(self) -> Table:
        table = _table("Journeys since the beginning", "program", "started", "held out", "open", "completed", "exited, and why")
        for row in self.figures.journeys:
            table.add_row(
                plain(row.program),
                f"{row.started:,}",
                f"{row.holdout:,}",
                f"{row.open:,}",
                f"{row.completed:,}",
                wording.listed(row.exited),
            )
        return table

    def _sent(self) -> Table:
        table = _table("Messages, by latest outcome", "channel", "of this day's run", "since the beginning")
        of_day = {row.channel: row for row in self.figures.sent_for_day}
        for row in self.figures.sent_so_far:
            today = of_day.get(row.channel)
            table.add_row(plain(row.channel), _outcomes(today.outcomes) if today else "none", _outcomes(row.outcomes))
        if self.figures.regret_sends_so_far:
            table.caption = f"[red]{wording.regrets(self.figures)}: {wording.WHAT_REGRET_MEANS}[/]"
        return table

    def _ads(self) -> Table:
        table = _table("Ad audiences", "platform", "members", "added on this day", "removed")
        for platform in sorted({row.platform for row in self.figures.ad_audiences}):
            rows = [row for row in self.figures.ad_audiences if row.platform == platform]
            table.add_row(
                platform,
                f"{sum(row.members for row in rows):,}",
                f"{sum(row.added for row in rows):,}",
                f"{sum(row.removed for row in rows):,}",
            )
        return table

    def _ad_removals(self) -> Table:
        table = _table("Days from a purchase to the removal from an ad audience", "platform", "removed", "median", "longest", "waiting")
        for row in self.figures.ad_removals:
            table.add_row(
                row.platform,
                f"{row.removed:,}",
                wording.days(row.days_median),
                wording.days(row.days_longest),
                f"{row.waiting:,}" + (f" (for {wording.days(row.waiting_days_longest)} days)" if row.waiting else ""),
            )
        return table

    def _win_back(self) -> Table:
        table = _table(
            f"Won back: bought within the month, of those lapsed {LEADING_THRESHOLD_DAYS} days or more when it opened",
            "month",
            "lapsed",
            "won back",
            "win-back percentage",
        )
        for row in self.figures.win_back[-6:]:
            table.add_row(
                f"{row.month:%Y-%m}",
                f"{row.lapsed:,}",
                f"{row.won_back:,}",
                ("" if row.is_mature else "(immature) ") + wording.percentage(row),
            )
        return table


def summary(settings: Settings, as_of: date | None = None) -> Summary:
    """The last report, or that of one `as_of` date. Reads what `day_report` saved, so it works while a run holds the warehouse.

    Raises
    ------
    BadInput
        There is no such report; says which there are.
    """
    known = sorted(settings.reports.glob("????-??-??.json"))
    if not known:
        raise BadInput(f"{settings.reports}: there is no report yet. Run a day first: `winback run`.")
    path = known[-1] if as_of is None else settings.reports / f"{as_of}.json"
    if path not in known:
        raise BadInput(f"{path}: there is no report as of {as_of}; the ones there are reach from {known[0].stem} to {known[-1].stem}.")
    return Summary(
        figures=Figures.model_validate_json(path.read_text(encoding="utf-8")),
        paths={
            "outbox": settings.outbox,
            "marts": settings.published,
            "report": path.with_suffix(".html"),
            "dashboard": settings.dashboards / f"{path.stem}.html",
        },
    )


def _outcomes(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())


def _table(title: str, *headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # A title wraps at its table's width, and short tables would break it.
    table = Table(title=title, title_justify="left", title_style="bold", min_width=min(len(title), 90), box=SIMPLE_HEAD, pad_edge=False)
    words = {"program", "audience", "tier", "channel", "platform", "month", "of this day's run", "since the beginning"}
    for position, heading in enumerate(headings):
        is_text = heading.endswith("why") or (heading in words and (position == 0 or heading not in {"audience"}))
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text or position == 0)
    return table
