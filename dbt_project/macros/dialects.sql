{# What differs between DuckDB, PostgreSQL and Spark and has no macro in dbt. The default is written so that it runs on as many as it can. #}

{% macro type_money() %}decimal(18, 4){% endmacro %}

{% macro type_double() %}{{ return(adapter.dispatch("type_double", "winback")()) }}{% endmacro %}

{% macro default__type_double() %}double{% endmacro %}

{% macro postgres__type_double() %}double precision{% endmacro %}

{% macro type_text() %}{{ return(adapter.dispatch("type_text", "winback")()) }}{% endmacro %}

{% macro default__type_text() %}varchar{% endmacro %}

{% macro spark__type_text() %}string{% endmacro %}


{# Whole days from date `a` to date `b`. #}
{% macro days_between(a, b) %}{{ return(adapter.dispatch("days_between", "winback")(a, b)) }}{% endmacro %}

{% macro default__days_between(a, b) %}cast({{ dbt.datediff(a, b, "day") }} as integer){% endmacro %}

{% macro duckdb__days_between(a, b) %}cast({{ b }} - {{ a }} as integer){% endmacro %}

{% macro postgres__days_between(a, b) %}({{ b }} - {{ a }}){% endmacro %}

{% macro spark__days_between(a, b) %}datediff({{ b }}, {{ a }}){% endmacro %}


{# The date `days` (a number or an integer column) after `date`. #}
{% macro days_after(date, days) %}{{ return(adapter.dispatch("days_after", "winback")(date, days)) }}{% endmacro %}

{% macro default__days_after(date, days) %}({{ date }} + {{ days }}){% endmacro %}

{% macro duckdb__days_after(date, days) %}({{ date }} + cast({{ days }} as integer)){% endmacro %}

{% macro spark__days_after(date, days) %}date_add({{ date }}, {{ days }}){% endmacro %}


{# Hours from one timestamp to another, with their fraction: `datediff` would count the full hours passed on the clock. #}
{% macro hours_between(a, b) %}{{ return(adapter.dispatch("hours_between", "winback")(a, b)) }}{% endmacro %}

{% macro default__hours_between(a, b) %}cast(extract(epoch from ({{ b }} - {{ a }})) / 3600.0 as {{ type_double() }}){% endmacro %}

{% macro spark__hours_between(a, b) %}(cast(unix_micros({{ b }}) - unix_micros({{ a }}) as double) / 3600000000.0){% endmacro %}


{# The first day of the month of `date`, and the first day of a month some months later. #}
{% macro month_start(date) %}cast({{ dbt.date_trunc("month", "cast(" ~ date ~ " as timestamp)") }} as date){% endmacro %}

{% macro months_after(month, months) %}cast({{ dbt.dateadd("month", months, "cast(" ~ month ~ " as timestamp)") }} as date){% endmacro %}


{# A select of one column `month`: the first days of all months from that of `first` to that of `last`, both dates. #}
{% macro months_spanned(first, last) %}{{ return(adapter.dispatch("months_spanned", "winback")(first, last)) }}{% endmacro %}

{% macro default__months_spanned(first, last) %}
    select cast(series.month as date) as month
    from generate_series({{ dbt.date_trunc("month", "cast(" ~ first ~ " as timestamp)") }}, cast({{ last }} as timestamp), interval '1 month') as series (month)
{% endmacro %}

{% macro spark__months_spanned(first, last) %}
    select explode(sequence({{ month_start(first) }}, {{ last }}, interval 1 month)) as month
{% endmacro %}


{# Whether `text` matches a regular expression. Patterns avoid backslashes, which Spark and PostgreSQL read differently. #}
{% macro matches(text, pattern) %}{{ return(adapter.dispatch("matches", "winback")(text, pattern)) }}{% endmacro %}

{% macro default__matches(text, pattern) %}regexp_matches({{ text }}, '{{ pattern }}'){% endmacro %}

{% macro postgres__matches(text, pattern) %}({{ text }} ~ '{{ pattern }}'){% endmacro %}

{% macro spark__matches(text, pattern) %}({{ text }} rlike '{{ pattern }}'){% endmacro %}


{# `text` with everything that matches `pattern` taken out. #}
{% macro without_matches(text, pattern) %}{{ return(adapter.dispatch("without_matches", "winback")(text, pattern)) }}{% endmacro %}

{% macro default__without_matches(text, pattern) %}regexp_replace({{ text }}, '{{ pattern }}', '', 'g'){% endmacro %}

{% macro spark__without_matches(text, pattern) %}regexp_replace({{ text }}, '{{ pattern }}', ''){% endmacro %}


{# The smallest and the largest of `values`, SQL expressions, those that are null left out; null where all are. #}
{% macro least_known(values) %}{{ return(adapter.dispatch("least_known", "winback")(values)) }}{% endmacro %}

{% macro default__least_known(values) %}least({{ values | join(", ") }}){% endmacro %}

{% macro greatest_known(values) %}{{ return(adapter.dispatch("greatest_known", "winback")(values)) }}{% endmacro %}

{% macro default__greatest_known(values) %}greatest({{ values | join(", ") }}){% endmacro %}


{# SHA-256 as 64 lower-case hex digits of the text's UTF-8 bytes. #}
{% macro sha256_hex(text) %}{{ return(adapter.dispatch("sha256_hex", "winback")(text)) }}{% endmacro %}

{% macro default__sha256_hex(text) %}sha256({{ text }}){% endmacro %}

{% macro postgres__sha256_hex(text) %}encode(sha256(convert_to({{ text }}, 'UTF8')), 'hex'){% endmacro %}

{% macro spark__sha256_hex(text) %}sha2({{ text }}, 256){% endmacro %}


{# A timestamp as 'YYYY-MM-DD HH:MM:SS.ffffff', the form that goes into derived ids. #}
{% macro timestamp_text(timestamp) %}{{ return(adapter.dispatch("timestamp_text", "winback")(timestamp)) }}{% endmacro %}

{% macro default__timestamp_text(timestamp) %}strftime({{ timestamp }}, '%Y-%m-%d %H:%M:%S.%f'){% endmacro %}

{% macro postgres__timestamp_text(timestamp) %}to_char({{ timestamp }}, 'YYYY-MM-DD HH24:MI:SS.US'){% endmacro %}

{% macro spark__timestamp_text(timestamp) %}date_format({{ timestamp }}, 'yyyy-MM-dd HH:mm:ss.SSSSSS'){% endmacro %}


{# The id of a thing from its natural key: md5 of the parts joined with '|'. Parts are SQL expressions of text, none of them null. #}
{% macro derived_id(parts) %}
    {%- set texts = [] -%}
    {%- for part in parts -%}{%- do texts.append("cast(" ~ part ~ " as " ~ type_text() ~ ")") -%}{%- endfor -%}
    md5({{ texts | join(" || '|' || ") }})
{%- endmacro %}


{# The number of the stretch of `width` days, counted from 1970-01-01, that `date` falls into. #}
{% macro period_number(date, width) %}
    {{- return(adapter.dispatch("period_number", "winback")(date, width)) -}}
{% endmacro %}

{% macro default__period_number(date, width) %}
    {#- Days since 1900 are positive, so that division that truncates and division that floors agree. -#}
    cast(floor({{ days_between("cast('1900-01-01' as date)", date) }} / {{ width }}) as integer)
{%- endmacro %}

{% macro duckdb__period_number(date, width) %}cast({{ days_between("cast('1900-01-01' as date)", date) }} // {{ width }} as integer){% endmacro %}
