{{ config(materialized='view') }}

with events as (
    select * from {{ ref('stg_shop__message_events') }}
),

customers as (
    select * from {{ ref('stg_shop__customers') }}
),

addresses as (
    select 'email' as channel, email as address, customer_id from customers where email is not null
    union all
    select 'sms' as channel, phone as address, customer_id from customers where phone is not null
    union all
    select 'push' as channel, push_token as address, customer_id from {{ ref('stg_shop__devices') }}
),

addressed as (
    select
        *,
        case when channel = 'email' then lower(trim(address)) else trim(address) end as normal_address
    from events
    where customer_id is null and address is not null
)

select
    event_id,
    customer_id,
    channel,
    event_type,
    occurred_at,
    campaign,
    is_machine
from events
where customer_id is not null

union all

select
    addressed.event_id,
    addresses.customer_id,
    addressed.channel,
    addressed.event_type,
    addressed.occurred_at,
    addressed.campaign,
    addressed.is_machine
from addressed
inner join addresses
    on
        addressed.channel = addresses.channel
        and addressed.normal_address = addresses.address
