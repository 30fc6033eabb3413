select
    as_of,
    plan_hash,
    run_id,
    recorded_at
from {{ source('ledger', 'applied_plans') }}
where recorded_at < {{ as_of() }}
