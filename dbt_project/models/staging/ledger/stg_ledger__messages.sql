select
    message_id,
    enrolment_id,
    step_no,
    customer_id,
    program,
    version,
    kind,
    channel,
    content,
    offer_code,
    not_before,
    expires_at,
    as_of,
    recorded_at
from {{ source('ledger', 'messages') }}
where recorded_at < {{ as_of() }}
