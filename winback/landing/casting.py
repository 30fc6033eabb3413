"""From what a file holds to what a raw table holds, as SQL: one expression for the value, one that says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from winback.landing.contract import SQL_TYPES, Column
from winback.landing.mapping import ColumnRule
from winback.landing.reading import literal

# ISO 3166-1 alpha-2.
_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG "
    "CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL "
    "GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA "
    "LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP "
    "NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
    "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
).split()
_TRUE = "('true', 't', 'yes', 'y', '1', 'on')"
_FALSE = "('false', 'f', 'no', 'n', '0', 'off')"
_BLANK = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"
_OFFSET = r"\d\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?(?::?\d{2})?)$"
_PLAIN_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_GROUPED = {".": r"[-+]?\d{1,3}(?:,\d{3})+\.\d+", ",": r"[-+]?\d{1,3}(?:\.\d{3})+,\d+"}
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")


@dataclass(frozen=True, slots=True)
class Cast:
    """SQL in steps, each over the columns of the one before: `v_` as the source has it, `s_` without blanks around, `t_` text, `c_` typed.

    A step of its own each, because DuckDB computes an expression as often as it is written. Null in `c_` is what could not be read or was
    not there; `problem` is null where all is well ('' where it always is); `final` is the value of the raw table.
    """

    stripped: str
    text: str
    typed: str
    problem: str
    final: str


def cast(column: Column, rule: ColumnRule | None, source_type: str, *, timezone: str, decimal: str) -> Cast:
    """The SQL for one column, whose source value is `v_<name>` of type `source_type`."""
    raw, stripped, text, typed = (f'"{prefix}_{column.name}"' for prefix in "vstc")
    to_stripped, to_text = _text(column, raw, stripped, source_type)
    if rule and rule.values is not None:
        pairs = " ".join(f"when {literal(old.strip().lower())} then {literal(new)}" for old, new in rule.values.items())
        rest = literal(rule.otherwise) if rule.otherwise is not None else to_text
        mapped = f"case lower({stripped}) {pairs} else {rest} end" if pairs else rest
        to_text = f"case when ({to_text}) is not null then {mapped} end"
        source_type = "VARCHAR"
    value, complaint = _typed(column, rule, raw, text, source_type, timezone, decimal)
    cases = []
    if complaint:
        cases.append(f"when {text} is not null and {typed} is null then {literal(complaint)}")
    if column.kind == "money":
        cases.append(f"when {typed} < 0 then 'is negative'")
    if column.filled:
        cases.append(f"when {typed} is null then 'is missing'")
    problem = f"case {' '.join(cases)} end" if cases else ""
    final = typed if column.default == "null" else f"coalesce({typed}, {column.default})"
    return Cast(to_stripped, to_text, f"({value})::{SQL_TYPES[column.kind]}", problem, final)


def _text(column: Column, raw: str, stripped: str, source_type: str) -> tuple[str, str]:
    """What is there, as text; null for what people and programs write where nothing is."""
    if source_type == "VARCHAR":
        blank = " or ".join(f"ascii({end}) <= 32 or ascii({end}) = 160" for end in (raw, f"right({raw}, 1)"))
        nothing = f"{stripped} = '' or {stripped} = 'NULL' or {stripped} = '\\N'"
        if column.kind not in ("text", "json"):
            words = " or ".join(f"lower({stripped}) = '{word}'" for word in ("null", "none", "nan", "nat", "n/a"))
            nothing += f" or (len({stripped}) < 5 and ({words}))"
        return f"case when {blank} then trim({raw}, {_BLANK}) else {raw} end", f"case when {nothing} then null else {stripped} end"
    if source_type in ("DOUBLE", "FLOAT"):
        # Identifiers that went through a table with gaps come as 12345.0.
        whole = f"{raw} = trunc({raw}) and abs({raw}) < 1e15"
        return f"case when {whole} then {raw}::bigint::varchar when not isnan({raw}) then {raw}::varchar end", stripped
    if source_type.startswith("DECIMAL"):
        return f"case when {raw} = trunc({raw}) then trunc({raw})::hugeint::varchar else {raw}::varchar end", stripped
    return f"{raw}::varchar", stripped


def _typed(column: Column, rule: ColumnRule | None, raw: str, text: str, source_type: str, timezone: str, decimal: str) -> tuple[str, str]:
    """SQL of the value (null where it cannot be read), and what is then wrong with it ('' where anything goes)."""
    kind = column.kind
    numeric = source_type in (*_WHOLE, "DOUBLE", "FLOAT") or source_type.startswith("DECIMAL")
    if kind == "id":
        if source_type == "VARCHAR":
            return f"case when suffix({text}, '.0') and regexp_full_match({text}, '\\d+\\.0') then {text}[:-3] else {text} end", ""
        return text, ""
    if kind in ("text", "json"):
        return text, ""
    if kind == "lower":
        return f"lower({text})", ""
    if kind == "currency":
        return f"upper({text})", ""
    if kind == "status":
        word = f"regexp_replace(lower({text}), '[\\s-]+', '_', 'g')"
        return f"case {word} when 'canceled' then 'cancelled' when 'void' then 'voided' else {word} end", ""
    if kind == "choice":
        word = f"lower({text})"
        allowed = ", ".join(literal(one) for one in column.allowed)
        return f"case when {word} in ({allowed}) then {word} end", f"is none of {', '.join(column.allowed)}"
    if kind == "country":
        known = ", ".join(literal(one) for one in _COUNTRIES)
        return f"case upper({text}) when 'UK' then 'GB' else case when upper({text}) in ({known}) then upper({text}) end end", ""
    if kind == "timezone":
        return f"case when {text} in (select name from landing_timezones) then {text} end", ""
    if kind == "boolean":
        if source_type == "BOOLEAN":
            return raw, ""
        return f"case when lower({text}) in {_TRUE} then true when lower({text}) in {_FALSE} then false end", "is neither true nor false"
    if kind == "timestamp":
        return _timestamp(rule, raw, text, source_type, timezone), "is not a timestamp" + (
            f" like {rule.format[0]}" if rule and rule.format else " like 2024-12-31 23:59:59"
        )
    target = SQL_TYPES[kind]
    if numeric:
        number = raw if source_type not in ("DOUBLE", "FLOAT") else f"case when isfinite({raw}) then {raw} end"
        if kind == "integer":
            return f"case when {number} = trunc({number}) then try_cast({number} as integer) end", "is not a whole number"
        return f"try_cast({number} as {target})", "is not a number, or too large"
    if kind == "integer":
        return f"case when regexp_full_match({text}, '[-+]?\\d+(\\.0+)?') then try_cast({text} as integer) end", "is not a whole number"
    plain = text if decimal == "." else f"replace({text}, ',', '.')"
    ungrouped = f"replace({text}, ',', '')" if decimal == "." else f"replace(replace({text}, '.', ''), ',', '.')"
    allowed_plain = f"regexp_full_match({plain}, '{_PLAIN_NUMBER}')"
    if decimal == ",":
        allowed_plain += f" and not contains({text}, '.')"
    grouped = f"when regexp_full_match({text}, '{_GROUPED[decimal]}') then try_cast({ungrouped} as {target})"
    return f"case when {allowed_plain} then try_cast({plain} as {target}) {grouped} end", "is not a number, or too large"


def _timestamp(rule: ColumnRule | None, raw: str, text: str, source_type: str, timezone: str) -> str:
    """Naive UTC. An offset in the value goes before the zone of the mapping."""

    def utc(naive: str) -> str:
        return naive if timezone == "UTC" else f"timezone('UTC', timezone({literal(timezone)}, {naive}))"

    def plausible(moment: str) -> str:
        # DuckDB also reads 'infinity', and years that no shop has seen.
        return f"case when ({moment}) between timestamp '1900-01-01' and timestamp '2999-12-31' then {moment} end"

    if rule and rule.format:
        moments = []
        for pattern in rule.format:
            if pattern in ("epoch_seconds", "epoch_milliseconds"):
                number = f"try_cast({text} as decimal(24, 6))"
                moments.append(f"make_timestamp(try_cast({number} * {1_000_000 if pattern == 'epoch_seconds' else 1_000} as bigint))")
            elif "%z" in pattern or "%Z" in pattern:
                moments.append(f"timezone('UTC', try_strptime({text}, {literal(pattern)}))")
            else:
                moments.append(utc(f"try_strptime({text}, {literal(pattern)})"))
        return plausible(f"coalesce({', '.join(moments)})")
    if source_type == "TIMESTAMP WITH TIME ZONE":
        return plausible(f"timezone('UTC', {raw})")
    if source_type.startswith("TIMESTAMP") or source_type == "DATE":
        return plausible(utc(f"{raw}::timestamp"))
    if source_type != "VARCHAR":
        return "null::timestamp"
    # try_cast to a timestamp drops an offset without a word, so values that have one go another way.
    spelled = f"regexp_replace(regexp_replace({text}, '\\s*(UTC|GMT)$', 'Z'), '\\s+([+-]\\d{{2}}(:?\\d{{2}})?)$', '\\1')"
    spelled = f"regexp_replace({spelled}, '(:\\d{{2}}(?:\\.\\d+)?[+-]\\d{{2}})(\\d{{2}})$', '\\1:\\2')"
    with_offset = f"timezone('UTC', try_cast({spelled} as timestamptz))"
    looks_like = f"regexp_matches({text}, '^\\d{{4}}-\\d{{1,2}}-\\d{{1,2}}(?:[T ]+\\d|$)')"
    return plausible(
        f"case when not {looks_like} then null "
        f"when contains({text}, ':') and regexp_matches({text}, '{_OFFSET}') then {with_offset} "
        f"when regexp_matches({text}, '[A-Za-z]{{2}}') then null "
        f"else {utc(f'try_cast({text} as timestamp)')} end"
    )
