with attempts as (
    select
        item_id,
        attempt,
        outcome,
        reason,
        provider_id,
        retry_at,
        destination,
        recorded_at,
        lead(recorded_at) over (partition by item_id order by attempt desc, seq desc) as doubted_at,
        row_number() over (partition by item_id order by attempt desc, seq desc) as newest
    from {{ source('ledger', 'outcomes') }}
    where recorded_at < {{ as_of() }}
)

select
    item_id,
    attempt,
    outcome,
    reason,
    provider_id,
    retry_at,
    destination,
    recorded_at,
    -- An event that proves a message of unknown outcome comes later than the message went.
    case when reason = '{{ var("proved_by_event") }}' then coalesce(doubted_at, recorded_at) else recorded_at end as answered_at,
    -- An unknown outcome with a time to try again will be asked about or repeated: what became of it is still open.
    outcome in ('accepted', 'rejected', 'skipped') or (outcome = 'unknown' and retry_at is null) as is_final
from attempts
where newest = 1
