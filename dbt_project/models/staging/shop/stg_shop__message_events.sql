select
    event_id,
    customer_id,
    address,
    channel,
    event_type,
    occurred_at,
    campaign,
    is_machine is true as is_machine
from {{ source('raw', 'message_events') }}
where occurred_at < {{ as_of() }}
