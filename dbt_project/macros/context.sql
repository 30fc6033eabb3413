{# The instant that the run reasons about, as a timestamp literal. An environment variable rather than a var: a var that changes
   daily would make dbt parse the whole project again every day. #}
{% macro as_of() %}cast('{{ env_var("WINBACK_AS_OF") }}' as timestamp){% endmacro %}

{% macro as_of_date() %}cast('{{ env_var("WINBACK_AS_OF")[:10] }}' as date){% endmacro %}

{# Schemas are named as configured; previews build into schemas of their own beside the real ones. #}
{% macro generate_schema_name(custom_schema_name, node) %}
    {{- env_var("WINBACK_SCHEMA_PREFIX", "") ~ (custom_schema_name or target.schema) -}}
{% endmacro %}
