select
    suppression_id,
    operation,
    customer_id,
    address_hash,
    channel,
    reason,
    starts_at,
    ends_at,
    source,
    recorded_at
from {{ source('ledger', 'suppressions') }}
where recorded_at < {{ as_of() }}
