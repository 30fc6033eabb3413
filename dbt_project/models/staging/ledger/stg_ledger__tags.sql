select
    tag_id,
    operation,
    customer_id,
    tag,
    enrolment_id,
    recorded_at
from {{ source('ledger', 'tags') }}
where recorded_at < {{ as_of() }}
