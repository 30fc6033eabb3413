"""The day for people: a report with charts, and the summary that a run ends with."""

from winback.reports.day import Report, day_report
from winback.reports.figures import Figures, gather
from winback.reports.summary import Summary, summary

__all__ = ["Figures", "Report", "Summary", "day_report", "gather", "summary"]
