{# What Spark needs besides other SQL. Tables are Parquet files in a folder that Winback reads and writes too (winback/engines/spark.py). #}

{% macro spark_storage() %}{{ env_var("WINBACK_ENGINE_STORAGE", "") | replace("'", "\\'") }}{% endmacro %}

{# Before anything else: the tables that were handed over, by their files. #}
{% macro attach_handed_over() %}
    {% if execute and target.type == "spark" %}
        {% for schema in graph.sources.values() | map(attribute="schema") | unique %}
            {% do run_query("create schema if not exists " ~ schema) %}
        {% endfor %}
        {% for source in graph.sources.values() %}
            {% set table = source.schema ~ "." ~ source.identifier %}
            {% do run_query("drop table if exists " ~ table) %}
            {% set folder = spark_storage() ~ "/handed_over/" ~ source.schema ~ "/" ~ source.identifier %}
            {% do run_query("create table " ~ table ~ " using parquet location '" ~ folder ~ "'") %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro spark__location_clause() %}
    location '{{ spark_storage() }}/derived/{{ model.schema }}/{{ model.alias }}'
{%- endmacro %}

{# Parquet files hold no constraints: what contracts promise of nulls is held by the tests of the models and by the other engines. #}
{% macro spark__persist_constraints(relation, model) %}{% endmacro %}

{# A view leaves no file. Those that Winback takes back are tables. #}
{% materialization view, adapter="spark" %}
    {% if model.schema.endswith("marts") or model.name in env_var("WINBACK_TAKEN_BACK", "").split(",") %}
        {{ return(materialization_table_spark()) }}
    {% else %}
        {{ return(create_or_replace_view()) }}
    {% endif %}
{% endmaterialization %}
