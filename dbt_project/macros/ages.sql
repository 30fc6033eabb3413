{# Ages at as_of, in whole calendar days: an event of yesterday is 1 day ago. Null where the date is unknown. #}
{% macro days_ago(date) %}{{ days_between(date, as_of_date()) }}{% endmacro %}

{# The first date whose daily run sees what happened on `date`: the day after; for a run within the day, that day itself. Null stays null, which
   `least` would not keep. #}
{% macro first_seen_on(date) -%}
    case when {{ date }} < {{ as_of_date() }} then {{ days_after(date, 1) }} when {{ date }} >= {{ as_of_date() }} then {{ as_of_date() }} end
{%- endmacro %}
