{#- Of one table with a column a segment; six rows a customer would be written twice, here and where the marts are published. -#}
{{ config(materialized='view') }}

-- depends_on: {{ ref('int_customers__segmented') }}
{%- for segment in segment_names() %}
select
    customer_id,
    '{{ segment }}' as segment
from {{ ref('int_customers__segmented') }}
where {{ segment }}
{%- if not loop.last %}

union all
{% endif %}
{%- else %}
select
    cast(null as {{ type_text() }}) as customer_id,
    cast(null as {{ type_text() }}) as segment
where false
{%- endfor %}
