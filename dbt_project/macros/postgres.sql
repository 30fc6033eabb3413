{# What PostgreSQL needs besides other SQL: statistics. It looks at what a table holds some time after it was filled, and until then takes it, and
   all that is joined to it, for a row or a few; of a view it guesses. Then it plans nested loops over tens of thousands of rows, which do not end. #}

{# dbt asks for the indexes of a new table once it is filled. #}
{% macro postgres__create_indexes(relation) %}
    {% do dbt.default__create_indexes(relation) %}
    {% do gather_statistics(relation) %}
{% endmacro %}

{% macro postgres__gather_statistics(relation) %}
    {% do run_query("analyze " ~ relation) %}
{% endmacro %}

{# Views that choose or join rows are tables here. Staged shop and ledger rows are read as they are, so that their statistics are those of the
   sources; marts are read by people. #}
{% materialization view, adapter="postgres" %}
    {% if model.schema.endswith("intermediate") or model.name.startswith("stg_programs__") %}
        {{ return(materialization_table_default()) }}
    {% else %}
        {{ return(materialization_view_default()) }}
    {% endif %}
{% endmaterialization %}
