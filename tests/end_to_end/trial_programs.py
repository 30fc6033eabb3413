"""Programs for trials: short delays, large holdouts, a cadence, one group for three of them, re-entry and a handover."""

from __future__ import annotations

_SHORT = """\
name: trial_short
audience: customer_lapsed
lapse_days: {at_least: 15, below: 600}
status: live
group: trial
priority: 10
entry:
  exclude_purchased_within_days: 3
  reentry: {after_days: 12, max_entries: 4}
holdout_percent: 30
exit_on: [purchase, engagement]
steps:
  - {day: 0, send: hello, channels: [email, push, sms]}
  - {day: 1, send: hello, channels: [push, sms, email]}
  - {day: 2, send: hello, channels: [email]}
ad_audiences: [meta, tiktok]
on_complete: {after_days: 1, tag: trial_over, then: trial_after}
"""

_WEEKLY = """\
name: trial_weekly
audience: past_own_cycle
lapse_days: {at_least: 3}
status: live
cadence: {every: weekly, on: wednesday}
group: trial
priority: 20
entry:
  reentry: {after_days: 20}
  max_per_day: 6
holdout_percent: 30
exit_on: [purchase]
steps:
  - {day: 0, send: hello, channels: [sms, email]}
  - {day: 4, send: hello, channels: [sms, push, email], unless: high_value}
  - {day: 4, task: call, only_if: high_value}
  - {day: 5, send: hello, channels: [email, push]}
ad_audiences: [google]
on_complete: {suppress_days: 15, lower_frequency: {channel: sms, messages: 1, days: 21}}
"""

_AFTER = """\
name: trial_after
audience: product_unused
lapse_days: {at_least: 60, below: 90}
status: live
group: trial
priority: 5
holdout_percent: 30
exit_on: [purchase]
steps:
  - {day: 0, send: hello, channels: [email, sms, push]}
  - {day: 6, send: hello, channels: [email, sms, push]}
"""

_EMAIL = "---\nsubject: We have news\n---\n<p>Hello {{ customer.first_name | default: 'there' }}</p>\n"
_SMS = "Hello {{ customer.first_name | default: 'there' }}. Reply STOP to opt out"
_PUSH = "---\ntitle: News\n---\nHello {{ customer.first_name | default: 'there' }}\n"
_TASK = "---\ntitle: Call\n---\nCall this customer.\n"

NAMES = ("trial_short", "trial_weekly", "trial_after")

FILES = {
    "trial_short.yml": _SHORT,
    "trial_weekly.yml": _WEEKLY,
    "trial_after.yml": _AFTER,
    "templates/trial_weekly/call/task.txt": _TASK,
}
for _name in NAMES:
    FILES |= {
        f"templates/{_name}/hello/email.html": _EMAIL,
        f"templates/{_name}/hello/sms.txt": _SMS,
        f"templates/{_name}/hello/push.txt": _PUSH,
    }
