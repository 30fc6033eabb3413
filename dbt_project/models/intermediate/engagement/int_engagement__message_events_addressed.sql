{{ kept_by_customer() }}

with events as (
    select
        *,
        {{ normal_address('channel', 'address') }} as normal_address
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
inner join {{ ref('int_customers__addresses') }} as addresses
    on
        events.channel = addresses.channel
        and events.normal_address = addresses.address
where {{ of_touched('addresses.customer_id') }}
