"""The words that every form of the report shares."""

from __future__ import annotations

from winback.reports.figures import LEADING_THRESHOLD_DAYS, Admission, Count, Decision, Figures, Journey, Lift, WinBack

WHAT_WIN_BACK_MEANS = (
    f"Of the customers whose last order was at least {LEADING_THRESHOLD_DAYS} days old when the month opened, the share who bought within "
    "the month, with or without a message from us. Immature: the month is not over, so the share can only grow."
)
WHAT_TIERS_MEAN = (
    "By days since the last order, open, click, visit or use by a person: active below 31, at risk 31 to 90, inactive above or never."
)
WHAT_WATERFALL_MEANS = (
    "Members of each live program's audience; the first gate that holds somebody back is the reason. Admitted + blocked = audience."
)
WHAT_WAITING_MEANS = "Waiting: due, and held for the local sending hour or a provider's next try."

WHAT_REMOVAL_MEANS = (
    "After a purchase: members whose journey ended with one, and the calendar days until the platform acknowledged that they are out. "
    "Whoever is still waiting may still see ads."
)
WHAT_INCREMENTAL_MEANS = (
    "Incremental: by how much treated customers bought more than those held out, first entries whose window has closed. Attributed: orders "
    "that followed a message, among them those that would have come anyway."
)
WHAT_REGRET_MEANS = "accepted although a purchase was known. The target is zero."


def plain(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


def listed(counts: list[Count]) -> str:
    """Those above zero, in their order: "suppressed 3, unreachable 1,204"."""
    return ", ".join(f"{plain(row.name)} {row.count:,}" for row in counts if row.count) or "nobody"


def percentage(row: WinBack) -> str:
    """The share in percent, or a dash where nobody was lapsed."""
    return "–" if row.percentage is None else f"{row.percentage:.1f}%"


def decision(row: Decision) -> str:
    """What was decided, with the reason where there is one."""
    return plain(row.decision) + (f" ({plain(row.reason)})" if row.reason else "")


def admitted(row: Admission) -> str:
    """How many entered, and how many of them are left alone for comparison."""
    return f"{row.admitted:,}" + (f" ({row.holdout:,} held out)" if row.holdout else "")


def regrets(figures: Figures) -> str:
    """Regret sends of this day's run and of all."""
    return f"{figures.regret_sends:,} regret sends by this day's run, {figures.regret_sends_so_far:,} since the beginning"


def days(number: float | None) -> str:
    """A number of days, or a dash where there is none."""
    return "–" if number is None else f"{number:,.1f}".removesuffix(".0")


def ended(row: Journey) -> int:
    """Journeys that are over, one way or the other."""
    return row.completed + sum(reason.count for reason in row.exited)


def lift(row: Lift | None) -> str:
    """What was won back that would not have come anyway, beside what last touch claims; or why that cannot be said yet."""
    if row is None:
        return "Nobody has been enrolled yet."
    when = f" The next counts from {row.next_window_closes_on:%Y-%m-%d}." if row.next_window_closes_on else ""
    if row.incremental_customers is None or row.incremental_revenue is None:
        return f"No program has both arms with a closed window yet; {row.immature:,} journeys are under way.{when}"
    customers = _between("customers", row.incremental_customers, row.incremental_customers_low, row.incremental_customers_high)
    revenue = _between("in revenue", row.incremental_revenue, row.incremental_revenue_low, row.incremental_revenue_high)
    return (
        f"Incremental: {customers}, {revenue}. Attributed by last touch: {row.attributed_revenue:,.0f} in revenue. "
        f"Of {row.treatment:,} treated customers against {row.holdout:,} held out, windows closed; {row.immature:,} are still open.{when}"
    )


def _between(unit: str, value: float, low: float | None, high: float | None) -> str:
    return f"{value:,.0f} {unit}" + (f" (95%: {low:,.0f} to {high:,.0f})" if low is not None and high is not None else "")
