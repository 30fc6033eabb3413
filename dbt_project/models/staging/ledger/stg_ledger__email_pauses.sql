with acts as (
    select
        subject as program,
        act,
        recorded_at,
        row_number() over (partition by subject order by seq desc) as newest
    from {{ source('ledger', 'audit_trail') }}
    where act in ('pause_email', 'resume_email') and recorded_at < {{ as_of() }}
)

select
    program,
    recorded_at as paused_at
from acts
where newest = 1 and act = 'pause_email'
