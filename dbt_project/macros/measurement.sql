{# What reports show for a brand, channel or country that is not known: a key of a report is never null. #}
{% macro or_none(text) %}coalesce({{ text }}, '(none)'){% endmacro %}

{# The Monday of the week of `date`. #}
{% macro week_start(date) %}cast({{ dbt.date_trunc("week", "cast(" ~ date ~ " as timestamp)") }} as date){% endmacro %}

{% macro quarter_start(date) %}cast({{ dbt.date_trunc("quarter", "cast(" ~ date ~ " as timestamp)") }} as date){% endmacro %}


{# A select of one column `number`: 0, 1, ... and up to `last`, a SQL expression of an integer. #}
{% macro numbers_up_to(last) %}{{ return(adapter.dispatch("numbers_up_to", "winback")(last)) }}{% endmacro %}

{% macro default__numbers_up_to(last) %}
    select cast(series.number as integer) as number
    from generate_series(0, {{ last }}) as series (number)
{% endmacro %}

{% macro spark__numbers_up_to(last) %}
    select explode(sequence(0, {{ last }})) as number
{% endmacro %}


{# A coupon code as it compares: shops and people write it in any case. #}
{% macro same_code(code) %}upper(trim({{ code }})){% endmacro %}

{# The band of lifetime spend, from the var's thresholds: its lower end, and its name. Customers without a purchase have a band of their own. #}
{% macro spend_band_from(spend, orders) -%}
    case
        when {{ orders }} = 0 then null
        {%- for threshold in var("lifetime_spend_bands") | sort | reverse %}
        when {{ spend }} >= {{ threshold }} then {{ threshold }}
        {%- endfor %}
        else 0
    end
{%- endmacro %}

{% macro spend_band(spend, orders) -%}
    {%- set thresholds = var("lifetime_spend_bands") | sort -%}
    case
        when {{ orders }} = 0 then 'no purchase'
        when {{ spend }} < {{ thresholds | first }} then 'below {{ thresholds | first }}'
        {%- for threshold in thresholds[1:] %}
        when {{ spend }} < {{ threshold }} then '{{ thresholds[loop.index0] }} to {{ threshold }}'
        {%- endfor %}
        else '{{ thresholds | last }} and more'
    end
{%- endmacro %}
