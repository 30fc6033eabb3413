"""Is raw fit to act on? Great Expectations over the raw tables, through SQL. Importing this package does not import Great Expectations."""

from winback.quality.results import CheckResult, require_passed
from winback.quality.validation import validate

__all__ = ["CheckResult", "require_passed", "validate"]
