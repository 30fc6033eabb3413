"""Input: a folder of files, read through a mapping, becomes the raw tables of the warehouse."""

from __future__ import annotations

from winback.landing.contract import TABLES, create_raw
from winback.landing.files import Waiting, waiting_files
from winback.landing.landing import FileReport, LandingReport, land
from winback.landing.mapping import Mapping, load_mapping

__all__ = ["TABLES", "FileReport", "LandingReport", "Mapping", "Waiting", "create_raw", "land", "load_mapping", "waiting_files"]
