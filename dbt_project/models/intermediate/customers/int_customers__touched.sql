{%- set since = derived_since() -%}

{%- if since.is_whole %}
select customer_id from {{ ref('int_customers__readdressed') }} where false
{%- else %}
{%- set is_recent = "between " ~ since.day ~ " and " ~ as_of() -%}

with changed_keys as (
    select kind, key from {{ source('raw', 'changed_keys') }} where position > {{ since.position }}
),

message_events as (
    select customer_id, address
    from {{ source('raw', 'message_events') }}
    where occurred_at {{ is_recent }}
),

addresses as (
    select key as address from changed_keys where kind = 'address'
    union
    select address from message_events where customer_id is null
),

-- A changed key does not say what kind of address it is.
addresses_written_to as (
    select 'email' as channel, {{ normal_email('address') }} as address from addresses
    union all
    select 'sms' as channel, {{ normal_phone('address') }} as address from addresses
    union all
    select 'push' as channel, trim(address) as address from addresses
),

products as (
    select key as product_id from changed_keys where kind = 'product'
    union
    select product_id from {{ source('raw', 'products') }} where launched_at {{ is_recent }}
),

orders as (
    select key as order_id from changed_keys where kind = 'order'
    union
    select order_lines.order_id
    from {{ source('raw', 'order_lines') }} as order_lines
    inner join products on order_lines.product_id = products.product_id
),

delivery_events as (
    select event_id
    from {{ source('ledger', 'delivery_events') }}
    where seq > {{ since.delivery_seq }} or recorded_at {{ is_recent }}
),

new_messages as (
    select message_id, customer_id
    from {{ source('ledger', 'messages') }}
    where seq > {{ since.message_seq }} or recorded_at {{ is_recent }}
),

-- What came without a message of ours is attributed by address, and a reply to the last message: later news can move it to another holder, or,
-- where it is the message itself that was not known, away from all of them.
attributed_by_address as (
    select events.channel, events.address_hash
    from {{ ref('stg_ledger__delivery_events') }} as events
    left join {{ ref('stg_ledger__messages') }} as messages on events.message_id = messages.message_id
    left join new_messages on events.message_id = new_messages.message_id
    where (messages.message_id is null or new_messages.message_id is not null) and events.address_hash is not null
),

touched as (
    select customer_id from {{ ref('int_customers__readdressed') }}

    union

    select key as customer_id from changed_keys where kind = 'customer'

    union

    select addresses.customer_id
    from {{ ref('int_customers__addresses') }} as addresses
    inner join addresses_written_to on addresses.channel = addresses_written_to.channel and addresses.address = addresses_written_to.address

    union

    select orders_placed.customer_id
    from {{ source('raw', 'orders') }} as orders_placed
    inner join orders on orders_placed.order_id = orders.order_id

    union

    select customer_id from {{ source('raw', 'orders') }} where ordered_at {{ is_recent }}

    union

    -- Whose orders are no longer of the past year.
    select customer_id from {{ source('raw', 'orders') }}
    where
        ordered_at >= cast({{ days_after("cast(" ~ since.day ~ " as date)", 1 - var("recent_spend_days")) }} as timestamp)
        and ordered_at < cast({{ days_after(as_of_date(), 1 - var("recent_spend_days")) }} as timestamp)

    union

    select customer_id from message_events

    union

    select customer_id from {{ source('raw', 'activity_events') }} where occurred_at {{ is_recent }}

    union

    select customer_id from {{ source('raw', 'consents') }} where changed_at {{ is_recent }}

    union

    select judged.customer_id
    from {{ ref('int_engagement__delivery_events_judged') }} as judged
    inner join delivery_events on judged.event_id = delivery_events.event_id

    union

    select customer_id from new_messages

    union

    select addresses.customer_id
    from {{ ref('int_customers__addresses') }} as addresses
    inner join attributed_by_address as events
        on addresses.channel = events.channel and addresses.address_hash = events.address_hash
)

select customer_id from touched where customer_id is not null
{%- endif %}
