{#- Derived customer by customer. Tables of what customers did are kept from build to build, and a build replaces the rows of those customers of
    whom something new is known: model config `{{ kept_by_customer() }}` and, where the model reads, `where {{ of_touched() }}`.

    What the tables hold is always what a build of everything would give. The table `derived_through` says what they were derived from; where that
    is not surely a beginning of what is there now, all is derived anew (`--full-refresh` does so too). Nothing is lost with it: it only saves time. -#}

{% macro derived_through() %}
    {{- return(api.Relation.create(database=target.database, schema=generate_schema_name("intermediate", none), identifier="derived_through")) -}}
{% endmacro %}

{#- Spark without a table format can replace tables, not rows: there every build derives everything. -#}
{% macro kept_by_customer(touched="int_customers__touched") %}
    {{- config(
        materialized="table" if target.type == "spark" else "incremental",
        incremental_strategy="append",
        pre_hook="{{ remove_touched('" ~ touched ~ "') }}",
    ) -}}
{% endmacro %}

{% macro remove_touched(touched) %}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ of_touched(touched=touched) }}
    {%- endif -%}
{% endmacro %}

{#- True for the rows that this build derives, by their customer. `touched` is the relation that lists those customers. -#}
{% macro of_touched(customer_id="customer_id", touched="int_customers__touched") %}
    {#- Asked for while dbt parses too, so that it knows of the dependency. Unit tests are of whole builds. -#}
    {%- if not execute or (model.resource_type == "model" and is_incremental()) -%}
        {{ customer_id }} in (select touched.customer_id from {{ ref(touched) }} as touched)
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{% macro should_full_refresh() %}
    {%- set asked = config.get("full_refresh") -%}
    {%- if asked is none -%}
        {%- set asked = flags.FULL_REFRESH or (model.config.materialized == "incremental" and derived_since().is_whole) -%}
    {%- endif -%}
    {{ return(asked) }}
{% endmacro %}

{#- What the build under way starts from: a row of `derived_through` with the day of the last as_of as a timestamp (dates reckon in whole days, so
    that day counts as new), or `is_whole` where all is derived anew. -#}
{% macro derived_since() %}
    {%- if execute and target.type != "spark" and load_relation(derived_through()) is not none -%}
        {%- set rows = run_query("select since_as_of, since_position, since_delivery_seq, since_message_seq, is_whole from " ~ derived_through()).rows -%}
        {%- if rows | length == 1 -%}
            {%- set row = rows[0] -%}
            {%- set day = "cast('" ~ row[0].strftime("%Y-%m-%d") ~ "' as timestamp)" if row[0] else none -%}
            {{ return({"day": day, "position": row[1], "delivery_seq": row[2], "message_seq": row[3], "is_whole": row[4]}) }}
        {%- endif -%}
    {%- endif -%}
    {{ return({"is_whole": execute}) }}
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
        {%- if since is not none and env_var("WINBACK_DBT_FINGERPRINT", "") and since["project"] == project and not flags.FULL_REFRESH -%}
            {%- set as_of_now = modules.datetime.datetime.fromisoformat(env_var("WINBACK_AS_OF")) -%}
            {%- set then = run_query(source_marks(since["position"], since["delivery_seq"], since["message_seq"])).rows[0] -%}
            {%- set everybody = run_query(
                "select count(*) from " ~ source("raw", "changed_keys") ~ " where kind = 'everybody' and position > " ~ since["position"]
            ).rows[0][0] -%}
            {%- set is_whole = (
                everybody > 0
                or as_of_now < since["as_of"]
                or (as_of_now - since["as_of"]).days > var("kept_rows_up_to_days")
                or then["landed_fingerprint"] != since["landed_fingerprint"]
                or then["ledger_fingerprint"] != since["ledger_fingerprint"]
            ) -%}
        {%- endif -%}
        {%- set text = type_text() %}
        begin;
        create schema if not exists {{ through.schema }};
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

{#- After the last model: the tables are whole if every one of them was built. -#}
{% macro end_derivation() %}
    {%- if keeps_rows() -%}
        {%- set built = results | selectattr("status", "equalto", "success") | map(attribute="node.unique_id") | list -%}
        {%- if kept_models() | reject("in", built) | list | length == 0 -%}
            begin;
            update {{ derived_through() }} set is_finished = true where true;
            commit;
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{% macro kept_models() %}
    {{ return(graph.nodes.values() | selectattr("config.materialized", "equalto", "incremental") | map(attribute="unique_id") | list) }}
{% endmacro %}

{#- Whether this command builds any of the tables. -#}
{% macro keeps_rows() %}
    {{ return(execute and target.type != "spark" and kept_models() | select("in", selected_resources) | list | length > 0) }}
{% endmacro %}
