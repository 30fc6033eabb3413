"""From decisions to deliveries: plan, apply, dispatch. See docs/delivery.md."""

from winback.delivery.apply import ApplyReport, apply_plan
from winback.delivery.dispatch import DispatchReport, dispatch
from winback.delivery.plan import Plan, make_plan, read_plan
from winback.delivery.regret import regret_sends

__all__ = ["ApplyReport", "DispatchReport", "Plan", "apply_plan", "dispatch", "make_plan", "read_plan", "regret_sends"]
