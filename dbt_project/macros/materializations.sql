{# DuckDB gives its file to one process, and nobody reads a table while it is built: so it is dropped and made again in one transaction,
   instead of built aside and renamed. That is a third of the statements, and a failing model leaves the old table as it was. #}
{% macro replaced_in_place(type) %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type=type) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if existing is not none and existing.type != type %}
        {% do adapter.cache_dropped(existing) %}
    {% endif %}
    {% call statement("main") -%}
        {% if existing is not none %}drop {{ existing.type }} if exists {{ existing }};{% endif %}
        {% if type == "view" %}{{ get_create_view_as_sql(target_relation, sql) }}{% else %}{{ create_filled(target_relation, sql) }}{% endif %}
    {%- endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% if config.persist_relation_docs() or config.persist_column_docs() %}
        {% do persist_docs(target_relation, model) %}
    {% endif %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({"relations": [target_relation]}) }}
{% endmacro %}

{# A table with its rows. DuckDB stores the columns that a model names in `uncompressed` as they are: to look for what millions of ids have in
   common takes it longer than most of what the model does with them, and a table that is made anew every day is not worth it. #}
{% macro create_filled(relation, sql) %}
    {%- set uncompressed = config.get("uncompressed", []) -%}
    {%- if uncompressed -%}
        create table {{ relation }} (
            {%- for column in run_query("describe " ~ sql).rows %}
            "{{ column[0] }}" {{ column[1] }}{{ " using compression uncompressed" if column[0] in uncompressed }}{{ "" if loop.last else "," }}
            {%- endfor %}
        );
        insert into {{ relation }} {{ sql }}
    {%- else -%}
        {{ create_table_as(False, relation, sql) }}
    {%- endif -%}
{% endmacro %}

{% materialization table, adapter="duckdb", supported_languages=["sql"] %}
    {{ return(replaced_in_place("table")) }}
{% endmaterialization %}

{% materialization view, adapter="duckdb" %}
    {{ return(replaced_in_place("view")) }}
{% endmaterialization %}
