"""The dashboard's figures in Streamlit, for trying out: any attribution window over `order_attribution`, any cut, rows to download.

Run by `winback dashboard --explore`; needs the extra: `uv sync --frozen --extra explore --inexact`.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import streamlit as st

from winback.dashboard.figures import Figures, attributed, gather, open_published
from winback.settings import load_settings

FILTERS = ("program", "brand", "channel")


def main() -> None:
    """One run of the page. Figures are read again when another run has published."""
    st.set_page_config(page_title="Winback: explore", layout="wide")
    settings = load_settings()
    figures = _figures(str(settings.root), _stamp())
    frames = {name: pd.DataFrame(table.columns) for name, table in figures.tables.items()}
    st.title("What was really won back")
    for note in figures.notes:
        st.warning(f"Notice: {note}")
    st.caption(f"Everything before {figures.as_of:%Y-%m-%d %H:%M} UTC; run {figures.run_id}. Same figures as the daily dashboard.")

    chosen, dates = _sidebar(frames)
    hours = st.sidebar.number_input(
        "Attribution window, hours", min_value=0.25, max_value=float(figures.longest_hours), value=72.0, step=1.0
    )
    since, until = dates
    with open_published(settings) as connection:
        table = attributed(connection, hours, **chosen, since=since, until=until)
    orders = pd.DataFrame(table.columns)

    _headline(frames["lift"], orders, hours, chosen, figures)
    tabs = st.tabs(["Attribution", "Journeys", "Returns", "Lift", "Steps", "Tiers", "Audiences", "Deliverability", "Next run"])
    with tabs[0]:
        st.caption(f"Orders whose latest message was less than {hours:g} hours before. Revenue net of discounts and refunds.")
        if orders.empty:
            st.info("No order followed a message within this window.")
        else:
            by = st.radio("By", [*FILTERS], horizontal=True)
            st.bar_chart(orders, x="ordered_on", y="revenue", color=by)
            st.dataframe(orders.groupby(by)[["orders", "revenue", "coupon_orders"]].sum())
    with tabs[1]:
        st.caption("Percentages are of journeys started. Bought: within the program's window. Immature while windows are open.")
        journeys = _cut(frames["journeys"], chosen, dates, "cohort_week")
        sums = journeys.groupby(["program", "version", "arm"])[
            ["started", "still_open", "exited", "completed", "purchased", "orders", "revenue"]
        ].sum()
        for column in ("exited", "completed", "purchased"):
            sums[f"{column} %"] = 100 * sums[column] / sums["started"]
        _show(sums.reset_index())
    with tabs[2]:
        st.caption("Share of first entries with a purchase by each day after entry, over all dates (Kaplan–Meier).")
        _returns(_cut(frames["curves"], {"program": chosen["program"]}, (None, None), None))
    with tabs[3]:
        st.caption("Treated against held out, first entries whose window has closed; 95% intervals and always-valid ones.")
        _show(_cut(frames["lift"], {"program": chosen["program"]}, (None, None), None))
    with tabs[4]:
        _show(_cut(frames["steps"], chosen, (None, None), None))
    with tabs[5]:
        sizes = _cut(frames["tier_sizes"], {"brand": chosen["brand"]}, dates, "date_day")
        if not sizes.empty:
            st.line_chart(sizes.groupby(["date_day", "tier"], as_index=False)["customers"].sum(), x="date_day", y="customers", color="tier")
        _show(_cut(frames["tier_moves"], {"brand": chosen["brand"]}, dates, "date_day"))
    with tabs[6]:
        _show(frames["audiences"])
    with tabs[7]:
        _show(_cut(frames["deliverability"], chosen, dates, "sent_on"))
    with tabs[8]:
        _show(_cut(frames["upcoming"], chosen, (None, None), None))


def _stamp() -> int:
    return (load_settings().published / "run.json").stat().st_mtime_ns


@st.cache_data(max_entries=2)
def _figures(home: str, stamp: int) -> Figures:  # noqa: ARG001 the cache's key
    with open_published(load_settings()) as connection:
        return gather(connection)


def _sidebar(frames: dict[str, pd.DataFrame]) -> tuple[dict[str, Any], tuple[date | None, date | None]]:
    chosen: dict[str, Any] = {}
    for name in FILTERS:
        values = sorted({value for frame in frames.values() if name in frame for value in frame[name].dropna()} - {"(all)"})
        chosen[name] = st.sidebar.selectbox(name.capitalize(), [None, *values], format_func=lambda value: value or "all")
    since = st.sidebar.date_input("From", value=None)
    until = st.sidebar.date_input("To", value=None)
    return chosen, (since, until)


def _cut(frame: pd.DataFrame, chosen: dict[str, Any], dates: tuple[date | None, date | None], column: str | None) -> pd.DataFrame:
    """Rows that the filters leave; a filter that the figure does not know is left out."""
    for name, value in chosen.items():
        if value is not None and name in frame:
            frame = frame[frame[name] == value]
    since, until = dates
    if column and since:
        frame = frame[frame[column] >= since.isoformat()]
    if column and until:
        frame = frame[frame[column] <= until.isoformat()]
    return frame


def _headline(lift: pd.DataFrame, orders: pd.DataFrame, hours: float, chosen: dict[str, Any], figures: Figures) -> None:
    row = lift[(lift["scope"] == "program") & (lift["program"] == chosen["program"])] if chosen["program"] else lift[lift["scope"] == "all"]
    known = not row.empty and pd.notna(row.iloc[0]["incremental_revenue"])
    left, right = st.columns(2)
    unit = figures.currency or ""
    left.metric(f"Incremental revenue {unit}", f"{row.iloc[0]['incremental_revenue']:,.0f}" if known else "–")
    left.caption(
        f"95% interval {row.iloc[0]['incremental_revenue_low']:,.0f} to {row.iloc[0]['incremental_revenue_high']:,.0f}; "
        f"{row.iloc[0]['treatment_enrolled']:,} treated, {row.iloc[0]['holdout_enrolled']:,} held out, windows closed. "
        "All dates, brands and channels."
        if known
        else "Needs people who were held out, and a window that has closed."
    )
    right.metric(f"Attributed revenue {unit}", f"{orders['revenue'].sum():,.0f}" if not orders.empty else "0")
    right.caption(
        f"{int(orders['orders'].sum()) if not orders.empty else 0:,} orders less than {hours:g} hours after their latest message."
    )


def _returns(curves: pd.DataFrame) -> None:
    rows = []
    for curve in curves[curves["scope"] == "program"].to_dict("records") if not curves.empty else []:
        still = 1.0
        for day, (risk, back) in enumerate(zip(curve["at_risk"], curve["returned"], strict=True)):
            still *= 1 - back / risk
            rows.append({"day": day, "returned %": 100 * (1 - still), "who": f"{curve['program']}, {curve['arm']}"})
    if rows:
        st.line_chart(pd.DataFrame(rows), x="day", y="returned %", color="who")
    else:
        st.info("Nobody has entered yet.")


def _show(frame: pd.DataFrame) -> None:
    if frame.empty:
        st.info("There is nothing to show with these filters.")
    else:
        st.dataframe(frame, hide_index=True)


if __name__ == "__main__":
    main()
