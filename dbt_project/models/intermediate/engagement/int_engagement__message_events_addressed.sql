with customers as (
    select * from {{ ref('stg_shop__customers') }}
),

addresses as (
    select 'email' as channel, email as address, customer_id from customers where email is not null
    union all
    select 'sms' as channel, phone as address, customer_id from customers where phone is not null
    union all
    select 'push' as channel, push_token as address, customer_id from {{ ref('stg_shop__devices') }}
),

events as (
    select
        *,
        case when channel = 'email' then lower(trim(address)) else trim(address) end as normal_address
    from {{ ref('stg_shop__message_events') }}
    where customer_id is null and address is not null
)

select
    events.event_id,
    addresses.customer_id,
    events.channel,
    events.event_type,
    events.occurred_at,
    events.campaign,
    events.is_machine
from events
inner join addresses
    on
        events.channel = addresses.channel
        and events.normal_address = addresses.address
