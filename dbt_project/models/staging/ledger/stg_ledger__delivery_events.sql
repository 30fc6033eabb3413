select
    event_id,
    source,
    event_type,
    message_id,
    provider_id,
    channel,
    address_hash,
    occurred_at,
    is_machine = 1 as is_machine,
    link,
    reason,
    recorded_at
from {{ source('ledger', 'delivery_events') }}
where recorded_at < {{ as_of() }}
