{%- set since = derived_since() -%}

{%- if since.is_whole %}
select customer_id from {{ source('raw', 'customers') }} where false
{%- else %}
with changed as (
    select key as customer_id
    from {{ source('raw', 'changed_keys') }}
    where position > {{ since.position }} and kind = 'customer' and table_name in ('customers', 'devices')

    union

    select customer_id
    from {{ source('raw', 'customers') }}
    where created_at >= {{ since.day }} and created_at < {{ as_of() }}

    union

    select customer_id
    from {{ source('raw', 'devices') }}
    where updated_at >= {{ since.day }} and updated_at < {{ as_of() }}
),

-- A token that somebody has now was perhaps somebody else's.
tokens as (
    select devices.push_token
    from {{ source('raw', 'devices') }} as devices
    inner join changed on devices.customer_id = changed.customer_id
)

select customer_id from changed

union

select devices.customer_id
from {{ source('raw', 'devices') }} as devices
inner join tokens on devices.push_token = tokens.push_token
{%- endif %}
