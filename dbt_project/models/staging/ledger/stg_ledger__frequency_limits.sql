with events as (
    select * from {{ source('ledger', 'frequency_limits') }}
    where recorded_at < {{ as_of() }}
),

lifted as (
    select limit_id from events
    where operation = 'lift'
)

select
    events.limit_id,
    events.customer_id,
    events.channel,
    events.max_messages,
    events.window_days,
    events.enrolment_id,
    events.recorded_at,
    lifted.limit_id is null as is_in_force
from events
left join lifted on events.limit_id = lifted.limit_id
where events.operation = 'add'
