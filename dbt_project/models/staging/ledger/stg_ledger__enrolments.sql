select
    enrolment_id,
    program,
    version,
    customer_id,
    anchor_at,
    arm,
    reason,
    enrolled_at,
    as_of,
    recorded_at
from {{ source('ledger', 'enrolments') }}
where recorded_at < {{ as_of() }}
