select
    event_id,
    customer_id,
    event_type,
    occurred_at
from {{ source('raw', 'activity_events') }}
where occurred_at < {{ as_of() }}
