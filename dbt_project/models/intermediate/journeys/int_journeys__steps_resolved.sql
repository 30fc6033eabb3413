with steps as (
    select * from {{ ref('stg_ledger__steps') }}
),

outcomes as (
    select * from {{ ref('stg_ledger__outcomes') }}
),

answered as (
    select
        steps.*,
        outcomes.outcome,
        outcomes.answered_at,
        steps.decision in ('withheld', 'skipped') or coalesce(outcomes.is_final, false) as is_resolved
    from steps
    left join outcomes on steps.message_id = outcomes.item_id
)

select
    enrolment_id,
    step_no,
    decision,
    reason,
    channel,
    outcome,
    is_resolved,
    case
        when not is_resolved then null
        when decision = 'queued' then cast(answered_at as date)
        -- Nobody heard from us: the next step keeps its distance from the day on which this one was due, however late that was noticed.
        when decision = 'skipped' and reason in ('condition', 'unreachable') then coalesce(due_on, cast(as_of as date))
        else cast(as_of as date)
    end as done_on
from answered
