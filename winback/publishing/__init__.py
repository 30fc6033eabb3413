"""The marts in a place of their own, that BI tools can hold open while the pipeline runs."""

from winback.publishing.publication import PublishReport, one_version, publish

__all__ = ["PublishReport", "one_version", "publish"]
