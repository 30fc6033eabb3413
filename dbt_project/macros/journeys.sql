{# Whether the run is a preview that reads program files as they stand. WINBACK_DRAFTS: empty, `1` (all programs), or one program's name. #}
{% macro drafts_asked_for() %}{{ "true" if env_var("WINBACK_DRAFTS", "") else "false" }}{% endmacro %}

{% macro draft_treated_as_live(program) %}
    {%- set asked_for = env_var("WINBACK_DRAFTS", "") -%}
    {{ "false" if not asked_for else "true" if asked_for == "1" else program ~ " = '" ~ asked_for ~ "'" }}
{%- endmacro %}
