{{ passed_on(whole='view') }}

select
    customer_id,
    channel,
    event_type,
    occurred_at,
    is_machine
from {{ ref('int_engagement__message_events_resolved') }}
where event_type <> 'sent' and {{ of_touched() }}
