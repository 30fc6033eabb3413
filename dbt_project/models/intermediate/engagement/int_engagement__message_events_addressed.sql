{{ kept_by_customer() }}

select
    events.event_id,
    addresses.customer_id,
    events.channel,
    events.event_type,
    events.occurred_at,
    events.campaign,
    events.is_machine
from {{ ref('int_engagement__message_events_unassigned') }} as events
inner join {{ ref('int_customers__addresses') }} as addresses
    on
        events.channel = addresses.channel
        and events.normal_address = addresses.address
where events.occurred_at < {{ as_of() }} and {{ of_touched('addresses.customer_id') }}
