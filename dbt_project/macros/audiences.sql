{# A select of one row, `at_least_days` and `below_days`: the widest range of lapse_days that any program in force asks of the audience, so that
   a marketer widens it in YAML alone. A program that names no bound asks for the audience's own; so does nobody where no program uses it. #}
{% macro widest_lapse_days(audience, default_at_least, default_below=none) %}
    {%- set below = default_below if default_below is not none else var("no_upper_bound_days") -%}
    select
        coalesce(min(coalesce(lapse_days_at_least, {{ default_at_least }})), {{ default_at_least }}) as at_least_days,
        coalesce(max(coalesce(lapse_days_below, {{ below }})), {{ below }}) as below_days
    from {{ ref("stg_programs__in_force") }}
    where audience = '{{ audience }}' and status <> 'retired'
{%- endmacro %}

{# Whether a lapse lies in that range, joined as `asked_for`. Bare comparisons with a table of one row would let DuckDB expect hundreds of times fewer
   members than there are, and join them from the wrong side; of a `coalesce` it expects all. #}
{% macro is_asked_for(lapse_days) -%}
    coalesce({{ lapse_days }} >= asked_for.at_least_days and {{ lapse_days }} < asked_for.below_days, false)
{%- endmacro %}
