select
    program,
    version,
    approved_by,
    recorded_at
from {{ source('ledger', 'approvals') }}
where recorded_at < {{ as_of() }}
