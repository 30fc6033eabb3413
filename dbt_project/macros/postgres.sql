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

{# Views whose rows are chosen by more than PostgreSQL can guess from are tables here: programs in force, and who a program would take. Those
   that pass millions of events on stay what they are. #}
{% materialization view, adapter="postgres" %}
    {% if model.name.startswith(("int_journeys__", "stg_programs__")) %}
        {{ return(materialization_table_default()) }}
    {% else %}
        {{ return(materialization_view_default()) }}
    {% endif %}
{% endmaterialization %}
