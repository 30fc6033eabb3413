"""The evaluation dashboard over the published marts: one file a day that opens anywhere, and the same figures to explore."""

from winback.dashboard.figures import Figures, gather, open_published
from winback.dashboard.page import Dashboard, write_dashboard

__all__ = ["Dashboard", "Figures", "gather", "open_published", "write_dashboard"]
