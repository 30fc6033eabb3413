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
    -- An unknown outcome with a time to try again will be asked about or repeated: what became of it is still open.
    outcome in ('accepted', 'rejected', 'skipped') or (outcome = 'unknown' and retry_at is null) as is_final
from attempts
where newest = 1
