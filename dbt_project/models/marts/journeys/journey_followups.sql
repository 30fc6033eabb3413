select
    followup_id,
    enrolment_id,
    program,
    customer_id,
    action,
    value,
    channel,
    max_messages,
    window_days,
    ends_at
from {{ ref('int_journeys__followups_due') }}
