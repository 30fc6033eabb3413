{{ config(materialized='view') }}

{#- The audiences are the files of models/marts/audiences: their names come from the environment, so that a new one needs no list to edit. -#}
{%- for audience in env_var("WINBACK_AUDIENCES").split(",") %}
select
    '{{ audience }}' as audience,
    customer_id,
    anchor_at,
    reason,
    lapse_days
from {{ ref(audience) }}
{%- if not loop.last %}

union all
{% endif %}
{%- endfor %}
