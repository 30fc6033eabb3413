select
    step_id,
    enrolment_id,
    step_no,
    decision,
    reason,
    channel,
    content,
    message_id,
    due_on,
    as_of,
    recorded_at
from {{ source('ledger', 'steps') }}
where recorded_at < {{ as_of() }}
