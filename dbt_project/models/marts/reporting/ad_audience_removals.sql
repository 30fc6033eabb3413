with changes as (
    select
        changes.platform,
        changes.program,
        changes.customer_id,
        changes.operation,
        changes.as_of,
        outcomes.outcome,
        outcomes.recorded_at as answered_at
    from {{ ref('stg_ledger__audience_changes') }} as changes
    left join {{ ref('stg_ledger__outcomes') }} as outcomes on changes.change_id = outcomes.item_id
),

-- An addition without an answer may have been taken: until the opposite is known the customer is in.
stays as (
    select
        platform,
        program,
        customer_id,
        as_of as added_at,
        lead(as_of) over (partition by platform, program, customer_id order by as_of) as added_again_at
    from changes
    where operation = 'add' and coalesce(outcome, 'unknown') not in ('rejected', 'skipped')
),

journeys as (
    select
        enrolment_id,
        program,
        customer_id,
        enrolled_at,
        exit_reason,
        exited_at,
        lead(enrolled_at) over (partition by program, customer_id order by enrolled_at, enrolment_id) as entered_again_at
    from {{ ref('journey_enrolments') }}
),

bought as (
    select
        stays.*,
        journeys.enrolment_id,
        journeys.exited_at as purchased_at
    from stays
    inner join journeys
        on
            stays.program = journeys.program
            and stays.customer_id = journeys.customer_id
            and stays.added_at >= journeys.enrolled_at
            and (journeys.entered_again_at is null or stays.added_at < journeys.entered_again_at)
    where journeys.exit_reason = 'purchase'
),

-- A removal that the platform refused is asked for again under another id: the first that it took ends the stay.
removed as (
    select
        bought.platform,
        bought.program,
        bought.customer_id,
        bought.added_at,
        min(changes.as_of) as asked_at,
        min(case when changes.outcome = 'accepted' then changes.answered_at end) as removed_at
    from bought
    inner join changes
        on
            bought.platform = changes.platform
            and bought.program = changes.program
            and bought.customer_id = changes.customer_id
            and changes.operation = 'remove'
            and changes.as_of > bought.added_at
            and (bought.added_again_at is null or changes.as_of < bought.added_again_at)
    group by bought.platform, bought.program, bought.customer_id, bought.added_at
)

select
    bought.platform,
    bought.program,
    bought.customer_id,
    bought.enrolment_id,
    bought.added_at,
    bought.purchased_at,
    removed.asked_at,
    removed.removed_at,
    removed.removed_at is not null as is_removed,
    {{ days_from('bought.purchased_at', 'removed.removed_at') }} as days_to_removal,
    {{ hours_between('bought.purchased_at', 'removed.removed_at') }} as hours_to_removal,
    case when removed.removed_at is null then {{ days_from('bought.purchased_at', as_of()) }} end as days_waiting
from bought
left join removed
    on
        bought.platform = removed.platform
        and bought.program = removed.program
        and bought.customer_id = removed.customer_id
        and bought.added_at = removed.added_at
-- Whoever had left before buying left for another reason.
where removed.removed_at is null or removed.removed_at >= bought.purchased_at
