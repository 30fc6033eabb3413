{# What Snowflake and BigQuery have instead of the defaults in dialects.sql. Databricks takes Spark's. Nothing was run there; docs/engines.md says
   what held. #}

{% macro bigquery__type_double() %}float64{% endmacro %}

{% macro bigquery__type_text() %}string{% endmacro %}

{% macro snowflake__hours_between(a, b) %}(datediff(microsecond, {{ a }}, {{ b }}) / 3600000000.0::double){% endmacro %}

{% macro bigquery__hours_between(a, b) %}(timestamp_diff({{ b }}, {{ a }}, microsecond) / 3600000000.0){% endmacro %}

{% macro snowflake__months_spanned(first, last) %}
    select dateadd(month, number, {{ month_start(first) }}) as month
    from ({{ snowflake__numbers_up_to("10000") }}) as numbers
    where dateadd(month, number, {{ month_start(first) }}) <= {{ last }}
{% endmacro %}

{% macro bigquery__months_spanned(first, last) %}
    select month from unnest(generate_date_array({{ month_start(first) }}, {{ last }}, interval 1 month)) as month
{% endmacro %}

{% macro snowflake__numbers_up_to(last) %}
    {#- Its generator wants a constant: a hundred thousand is more than any window in days. -#}
    select number from (select row_number() over (order by seq4()) - 1 as number from table(generator(rowcount => 100000))) as counted
    where number <= {{ last }}
{% endmacro %}

{% macro bigquery__numbers_up_to(last) %}select number from unnest(generate_array(0, {{ last }})) as number{% endmacro %}

{% macro snowflake__matches(text, pattern) %}(regexp_instr({{ text }}, '{{ pattern }}') > 0){% endmacro %}

{% macro bigquery__matches(text, pattern) %}regexp_contains({{ text }}, r'{{ pattern }}'){% endmacro %}

{% macro snowflake__without_matches(text, pattern) %}regexp_replace({{ text }}, '{{ pattern }}', ''){% endmacro %}

{% macro bigquery__without_matches(text, pattern) %}regexp_replace({{ text }}, r'{{ pattern }}', ''){% endmacro %}

{% macro snowflake__least_known(values) %}least_ignore_nulls({{ values | join(", ") }}){% endmacro %}

{% macro bigquery__least_known(values) %}(select min(value) from unnest([{{ values | join(", ") }}]) as value){% endmacro %}

{% macro snowflake__greatest_known(values) %}greatest_ignore_nulls({{ values | join(", ") }}){% endmacro %}

{% macro bigquery__greatest_known(values) %}(select max(value) from unnest([{{ values | join(", ") }}]) as value){% endmacro %}

{% macro snowflake__sha256_hex(text) %}sha2({{ text }}, 256){% endmacro %}

{% macro bigquery__sha256_hex(text) %}to_hex(sha256({{ text }})){% endmacro %}

{% macro snowflake__timestamp_text(timestamp) %}to_char({{ timestamp }}, 'YYYY-MM-DD HH24:MI:SS.FF6'){% endmacro %}

{% macro bigquery__timestamp_text(timestamp) %}format_timestamp('%Y-%m-%d %H:%M:%E6S', {{ timestamp }}){% endmacro %}
