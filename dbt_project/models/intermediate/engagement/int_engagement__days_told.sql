select distinct
    program,
    customer_id,
    channel,
    {{ message_event_type("event_type") }} as event_type,
    cast(occurred_at as date) as occurred_on
from {{ ref('int_engagement__delivery_events_judged') }}
where program is not null and {{ message_event_type("event_type") }} is not null
