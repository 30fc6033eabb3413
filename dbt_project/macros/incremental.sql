{#- Derived customer by customer: of those customers alone of whom something new is known since the last build. A model says so in its first line,
    and filters what it reads by `where {{ of_touched() }}`, or reads `touched_rows(...)` in place of `ref` of another such model.

    - `{{ kept_by_customer() }}`: a table of everybody, in which a build replaces the rows of those customers. For what others read whole.
    - `{{ kept_by_event(table) }}`: a few of the rows of a raw table of events, in which a build replaces those that new files brought. It filters by
      `where {{ of_new_files(table) }}`, and reads nothing but that raw table: not even as_of, which decides when somebody reads.
    - `{{ passed_on() }}`: a table of those customers alone, made anew by each build. For what only other models derived by customer read.

    What kept tables hold is always what a build of everything would give. The table `derived_through` says what they were derived from; where that
    is not surely a beginning of what is there now, all is derived anew (`--full-refresh` does so too). Nothing is lost with it: it only saves time. -#}

{% macro derived_through() %}
    {{- return(api.Relation.create(database=target.database, schema=generate_schema_name("intermediate", none), identifier="derived_through")) -}}
{% endmacro %}

{#- Spark without a table format can replace tables, not rows: there every build derives everything. -#}
{% macro kept_by_customer(touched="int_customers__touched") %}
    {#- While dbt parses, so that it knows of the dependency: the materialization names them. -#}
    {%- if not execute %}{% do ref(touched) %}{% endif -%}
    {{- config(materialized="table" if target.type == "spark" else "kept", touched=touched) -}}
{% endmacro %}

{% macro kept_by_event(events) %}
    {%- if not execute %}{% do source("raw", "changed_keys") %}{% endif -%}
    {{- config(materialized="table" if target.type == "spark" else "kept", events=events) -}}
{% endmacro %}

{% materialization kept, default %}
    {{ return(materialization_table_default() if derived_since().is_whole else rows_replaced()) }}
{% endmaterialization %}

{% materialization kept, adapter="duckdb" %}
    {{ return(replaced_in_place("table") if derived_since().is_whole else rows_replaced()) }}
{% endmaterialization %}

{#- The rows of touched customers stand for this build in a small table of their own besides, which the next models read instead of looking for
    them among everybody's. -#}
{% macro rows_replaced() %}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- set alone_relation = alone(target_relation) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement("main") -%}
        drop table if exists {{ alone_relation }};
        {{ get_create_table_as_sql(False, alone_relation, sql) }};
        delete from {{ target_relation }} where {{ of_new_events(config.get("events")) if config.get("events") else of_touched(touched=config.get("touched")) }};
        insert into {{ target_relation }} select * from {{ alone_relation }};
    {%- endcall %}
    {% do gather_statistics(alone_relation) %}
    {% do gather_statistics(target_relation) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {% if target.type == "duckdb" and holds_much_memory(target_relation) %}{% do run_query("force checkpoint") %}{% endif %}
    {{ return({"relations": [target_relation]}) }}
{% endmacro %}

{#- Whether what DuckDB holds of rows that were removed from a table is more than a small part of its memory. For every 2,048 rows of which one was
    removed it holds 8 bytes a row, which it cannot spill, until its next checkpoint; and of itself it makes none while another model is under way. -#}
{% macro holds_much_memory(relation) %}
    {%- set held = run_query(
        "select estimated_size * 8 > parse_formatted_bytes(current_setting('memory_limit')) * " ~ var("share_of_memory_for_removed_rows")
        ~ " from duckdb_tables() where schema_name = '" ~ relation.schema ~ "' and table_name = '" ~ relation.identifier ~ "'"
    ) -%}
    {{ return(held.rows | length > 0 and held.rows[0][0]) }}
{% endmacro %}

{#- For models that need all the memory there is, when they are built: what is held of rows that were removed, however little of each table. -#}
{% macro free_memory_of_removed_rows() %}
    {%- if target.type == "duckdb" and flags.WHICH in ["build", "run"] and is_of_touched() -%}{%- do run_query("force checkpoint") -%}{%- endif -%}
{% endmacro %}

{#- For engines that plan by statistics which they gather only later. -#}
{% macro gather_statistics(relation) %}{{ return(adapter.dispatch("gather_statistics", "winback")(relation)) }}{% endmacro %}

{% macro default__gather_statistics(relation) %}{% endmacro %}

{% macro alone(relation) %}{{ return(relation.incorporate(path={"identifier": relation.identifier ~ "__touched"}, type="table")) }}{% endmacro %}

{#- What other models derived by customer alone read: `{{ passed_on() }}` and, where the model reads, as in a kept one. It is a table of those
    customers whom the build derives: of everybody in a whole build, where it may be a view (`whole="view"`) if that is cheap to read again. -#}
{% macro passed_on(whole="table") %}
    {{- config(materialized=whole if target.type == "spark" else "passed_on", whole=whole) -}}
{% endmacro %}

{% materialization passed_on, default %}
    {{ return(materialization_view_default() if is_view_now() else materialization_table_default()) }}
{% endmaterialization %}

{% materialization passed_on, adapter="duckdb" %}
    {{ return(replaced_in_place("view" if is_view_now() else "table")) }}
{% endmaterialization %}

{% macro is_view_now() %}{{ return(config.get("whole") == "view" and derived_since().is_whole) }}{% endmacro %}

{#- Whether the model under way derives the rows of touched customers alone. Unit tests are of whole builds. -#}
{% macro is_of_touched() %}
    {{- return(execute and model.resource_type == "model" and not derived_since().is_whole) -}}
{% endmacro %}

{#- True for the rows that this build derives, by their customer. `touched` is the relation that lists those customers. -#}
{% macro of_touched(customer_id="customer_id", touched="int_customers__touched") %}
    {#- While dbt parses too, so that it knows of the dependency. -#}
    {%- if not execute or is_of_touched() -%}
        {{ customer_id }} in (select touched.customer_id from {{ ref(touched) }} as touched)
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{#- True for the rows of a raw table that files brought which were landed since the last build; of all in a whole build. -#}
{% macro of_new_files(table) %}
    {%- if is_of_touched() -%}
        _file_id in (
            select _file_id from {{ source("raw", "changed_keys") }}
            where table_name = '{{ table }}' and position > {{ derived_since().position }}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{#- True for events of which such a row tells: it may say something else of an event than the row that it replaced, so that none is left here. -#}
{% macro of_new_events(table) %}
    event_id in (select event_id from {{ source("raw", table) }} where {{ of_new_files(table) }})
{%- endmacro %}

{#- In place of `ref` of a model derived by int_customers__touched: its rows of the customers that this build derives. -#}
{% macro touched_rows(name) %}
    {%- set relation = ref(name) -%}
    {{ return(alone(relation) if is_of_touched() and is_kept(name) else relation) }}
{% endmacro %}

{% macro is_kept(name) %}
    {{ return(graph.nodes["model." ~ project_name ~ "." ~ name].config.materialized == "kept") }}
{% endmacro %}

{#- What the build under way starts from: a row of `derived_through` with the day of the last as_of as a timestamp (dates reckon in whole days, so
    that day counts as new), or `is_whole` where all is derived anew. Asked for by every kept model, some of them ten times: it is looked up once
    a command, and noted where all nodes of the command find it. -#}
{% macro derived_since() %}
    {%- if execute and "derived_since" not in graph -%}
        {%- set found = {"is_whole": true} -%}
        {#- `dbt compile --no-introspect` has no connection to ask. -#}
        {%- if target.type != "spark" and flags.INTROSPECT is not false and load_relation(derived_through()) is not none -%}
            {%- set rows = run_query(
                "select since_as_of, since_position, since_delivery_seq, since_message_seq, is_whole from " ~ derived_through()
            ).rows -%}
            {%- if rows | length == 1 -%}
                {%- set row = rows[0] -%}
                {%- set day = "cast('" ~ row[0].strftime("%Y-%m-%d") ~ "' as timestamp)" if row[0] else none -%}
                {%- do found.update({"day": day, "position": row[1], "delivery_seq": row[2], "message_seq": row[3], "is_whole": row[4]}) -%}
            {%- endif -%}
        {%- endif -%}
        {%- do graph.update({"derived_since": found}) -%}
    {%- endif -%}
    {{ return(graph["derived_since"] if execute else {"is_whole": false}) }}
{% endmacro %}


{#- How far the sources of these tables reach, and fingerprints of what they hold up to there: a select of one row. Up to the given position of
    the landed files and the given numbers of the ledger, or to the end. -#}
{% macro source_marks(position=none, delivery_seq=none, message_seq=none) %}
    select
        landed.position,
        landed.fingerprint as landed_fingerprint,
        delivery_events.seq as delivery_seq,
        messages.seq as message_seq,
        delivery_events.fingerprint || ' ' || messages.fingerprint as ledger_fingerprint
    from (
        select
            coalesce(max(position), 0) as position,
            coalesce({{ dbt.hash(dbt.listagg("file_id || ' ' || table_name || ' ' || mapping_hash", "','", "order by position")) }}, '') as fingerprint
        from {{ source("raw", "landed_files") }}
        {{ "" if position is none else "where position <= " ~ position }}
    ) as landed
    {%- for table, key, upto in [("delivery_events", "event_id", delivery_seq), ("messages", "message_id", message_seq)] %}
    cross join (
        select
            coalesce(max(seq), 0) as seq,
            count(*) || ' ' || coalesce(min({{ key }}), '') || ' ' || coalesce(max({{ key }}), '') as fingerprint
        from {{ source("ledger", table) }}
        {{ "" if upto is none else "where seq <= " ~ upto }}
    ) as {{ table }}
    {%- endfor %}
{% endmacro %}

{#- Before the first model: note what this build starts from. Until `end_derivation` says that it is finished, the next build derives all anew. -#}
{% macro begin_derivation() %}
    {%- do graph.pop("derived_since", none) -%}
    {%- if keeps_rows() -%}
        {%- set through = derived_through() -%}
        {%- set project = env_var("WINBACK_DBT_FINGERPRINT", "") ~ tojson(invocation_args_dict.get("vars") or {}) -%}
        {%- set here = run_query(source_marks()).rows[0] -%}
        {%- set since = none -%}
        {%- if load_relation(through) is not none -%}
            {%- set rows = run_query("select * from " ~ through ~ " where is_finished").rows -%}
            {%- set since = rows[0] if rows | length == 1 else none -%}
        {%- endif -%}
        {%- set is_whole = true -%}
        {#- Who asks for some of the models gets them whole: what the others hold of touched customers is of another build. -#}
        {%- do require_what_is_passed_on() -%}
        {%- if models_by_customer() | reject("in", selected_resources) | list | length == 0 and since is not none and env_var("WINBACK_DBT_FINGERPRINT", "") and since["project"] == project and not flags.FULL_REFRESH -%}
            {%- set as_of_now = modules.datetime.datetime.fromisoformat(env_var("WINBACK_AS_OF")) -%}
            {%- set then = run_query(source_marks(since["position"], since["delivery_seq"], since["message_seq"])).rows[0] -%}
            {%- set everybody = run_query(
                "select count(*) from " ~ source("raw", "changed_keys") ~ " where kind = 'everybody' and position > " ~ since["position"]
            ).rows[0][0] -%}
            {#- Of rows of which no file is told (other tools may write them) nothing says which are new: position 0. -#}
            {%- set is_whole = (
                everybody > 0
                or since["position"] == 0
                or not all_are_there(relations_by_customer())
                or as_of_now < since["as_of"]
                or (as_of_now - since["as_of"]).days > var("kept_rows_up_to_days")
                or then["landed_fingerprint"] != since["landed_fingerprint"]
                or then["ledger_fingerprint"] != since["ledger_fingerprint"]
            ) -%}
        {%- endif -%}
        {%- set text = type_text() %}
        begin;
        create schema if not exists {{ through.schema }};
        {%- if is_whole %}{% for relation in relations_by_customer() %}
        drop table if exists {{ alone(relation) }};
        {%- endfor %}{% endif %}
        drop table if exists {{ through }};
        create table {{ through }} as
        select
            {{ as_of() }} as as_of,
            cast({{ here["position"] }} as bigint) as position,
            cast({{ here["delivery_seq"] }} as bigint) as delivery_seq,
            cast({{ here["message_seq"] }} as bigint) as message_seq,
            cast('{{ here["landed_fingerprint"] }}' as {{ text }}) as landed_fingerprint,
            cast('{{ here["ledger_fingerprint"] }}' as {{ text }}) as ledger_fingerprint,
            cast('{{ project | replace("'", "''") }}' as {{ text }}) as project,
            cast({{ "null" if is_whole else "'" ~ since["as_of"] ~ "'" }} as timestamp) as since_as_of,
            cast({{ "null" if is_whole else since["position"] }} as bigint) as since_position,
            cast({{ "null" if is_whole else since["delivery_seq"] }} as bigint) as since_delivery_seq,
            cast({{ "null" if is_whole else since["message_seq"] }} as bigint) as since_message_seq,
            {{ "true" if is_whole else "false" }} as is_whole,
            false as is_finished;
        commit;
    {%- endif -%}
{% endmacro %}

{#- A model of which this command builds some readers, but not the model itself, would pass on whom an earlier build derived. -#}
{% macro require_what_is_passed_on() %}
    {%- for unique_id in models_by_customer() if unique_id in selected_resources -%}
        {%- for parent in graph.nodes[unique_id].depends_on.nodes
            if parent not in selected_resources and parent in graph.nodes and graph.nodes[parent].config.materialized == "passed_on" -%}
            {%- do exceptions.raise_compiler_error(
                graph.nodes[unique_id].name ~ " reads " ~ graph.nodes[parent].name ~ ", which holds only the customers that the last build derived, "
                ~ "and this command does not build that. Nothing was built. Select it too: --select +" ~ graph.nodes[unique_id].name
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}

{#- After the last model: the tables are whole if every one of them was built. -#}
{% macro end_derivation() %}
    {%- if keeps_rows() -%}
        {%- set built = results | selectattr("status", "equalto", "success") | map(attribute="node.unique_id") | list -%}
        {%- if models_by_customer() | reject("in", built) | list | length == 0 -%}
            begin;
            update {{ derived_through() }} set is_finished = true where true;
            commit;
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{% macro models_by_customer() %}
    {{ return(graph.nodes.values() | selectattr("config.materialized", "in", ["kept", "passed_on"]) | map(attribute="unique_id") | list) }}
{% endmacro %}

{% macro relations_by_customer() %}
    {%- set relations = [] -%}
    {%- for unique_id in models_by_customer() -%}
        {%- set node = graph.nodes[unique_id] -%}
        {%- do relations.append(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) -%}
    {%- endfor -%}
    {{ return(relations) }}
{% endmacro %}

{#- Where one was dropped, what the others take up would not be all of it. -#}
{% macro all_are_there(relations) %}
    {%- set missing = [] -%}
    {%- for relation in relations if load_relation(relation) is none -%}{%- do missing.append(relation) -%}{%- endfor -%}
    {{ return(missing | length == 0) }}
{% endmacro %}

{#- Whether this command builds any of the tables. -#}
{% macro keeps_rows() %}
    {{ return(execute and target.type != "spark" and flags.INTROSPECT is not false and models_by_customer() | select("in", selected_resources) | list | length > 0) }}
{% endmacro %}
