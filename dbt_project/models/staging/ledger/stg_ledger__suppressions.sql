with events as (
    select * from {{ ref('stg_ledger__suppression_events') }}
),

lifted as (
    select suppression_id from events
    where operation = 'lift'
)

select
    events.suppression_id,
    events.customer_id,
    events.address_hash,
    events.channel,
    events.reason,
    events.starts_at,
    events.ends_at
from events
left join lifted on events.suppression_id = lifted.suppression_id
where
    events.operation = 'add'
    and lifted.suppression_id is null
    -- What begins at as_of is known at as_of: the day that opens then is already covered.
    and events.starts_at <= {{ as_of() }}
    and (events.ends_at is null or events.ends_at > {{ as_of() }})
