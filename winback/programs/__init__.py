"""What marketing decides: programs, messages and brand. See docs/programs.md."""

from winback.programs.checking import LoadedPrograms, brand_of, check, load_programs, valid_programs
from winback.programs.json_schemas import json_schema
from winback.programs.problems import Problem
from winback.programs.rendering import render
from winback.programs.schema import Brand, Program, Sending
from winback.programs.sync import SyncReport, approve, record_stops, sync, write_tables
from winback.programs.templates import Rendered
from winback.programs.variables import CUSTOMER_COLUMNS, IssuedOffer, Links, links_for
from winback.programs.versions import Definition

__all__ = [
    "CUSTOMER_COLUMNS",
    "Brand",
    "Definition",
    "IssuedOffer",
    "Links",
    "LoadedPrograms",
    "Problem",
    "Program",
    "Rendered",
    "Sending",
    "SyncReport",
    "approve",
    "brand_of",
    "check",
    "json_schema",
    "links_for",
    "load_programs",
    "record_stops",
    "render",
    "sync",
    "valid_programs",
    "write_tables",
]
