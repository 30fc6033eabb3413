select
    change_id,
    platform,
    audience,
    program,
    customer_id,
    operation,
    reason,
    as_of,
    recorded_at
from {{ source('ledger', 'audience_changes') }}
where recorded_at < {{ as_of() }}
