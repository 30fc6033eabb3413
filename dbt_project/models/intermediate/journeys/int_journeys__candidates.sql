{{ config(materialized='view') }}

with programs as (
    select
        program,
        audience,
        coalesce(lapse_days_at_least, {{ own_lapse_days('audience', 'from') }}) as at_least,
        coalesce(lapse_days_below, {{ own_lapse_days('audience', 'below') }}) as below
    from {{ ref('stg_programs__in_force') }}
    where is_live
),

-- Said so that engines expect as many as there are, here and where those who are handed over are left out: macro is_asked_for tells why.
members as (
    select
        programs.program,
        members.customer_id,
        members.anchor_at,
        members.reason as audience_reason,
        members.lapse_days
    from programs
    inner join {{ ref('int_audiences__members') }} as members on programs.audience = members.audience
    where
        coalesce(members.lapse_days >= programs.at_least, programs.at_least is null)
        and coalesce(members.lapse_days < programs.below, programs.below is null)
),

-- Those who completed a program that names another to take over, and have not come back since. They stand before the gates of the next
-- program every day until they have entered it.
completed as (
    select
        programs.program,
        enrolments.customer_id,
        enrolments.anchor_at,
        row_number() over (
            partition by programs.program, enrolments.customer_id
            order by enrolments.enrolled_at desc, enrolments.enrolment_id asc
        ) as position
    from {{ ref('int_journeys__enrolments_resolved') }} as enrolments
    inner join programs on enrolments.complete_then = programs.program
    left join {{ ref('customers') }} as customers on enrolments.customer_id = customers.customer_id
    where
        enrolments.status = 'completed'
        -- Whatever they did, as for the follow-ups: programs know of what they exit on alone.
        and not coalesce(customers.last_active_at >= enrolments.completed_at, false)
),

entered as (
    select
        program,
        customer_id,
        max(anchor_at) as last_anchor_at
    from {{ ref('stg_ledger__enrolments') }}
    group by program, customer_id
),

handed_over as (
    select
        completed.program,
        completed.customer_id,
        completed.anchor_at,
        'handed over' as audience_reason,
        {{ days_from('completed.anchor_at', as_of_date()) }} as lapse_days
    from completed
    left join entered on completed.program = entered.program and completed.customer_id = entered.customer_id
    where
        completed.position = 1
        and (entered.last_anchor_at is null or entered.last_anchor_at < completed.anchor_at)
)

select
    program,
    customer_id,
    anchor_at,
    audience_reason,
    lapse_days
from handed_over

union all

-- A customer stands before a program once, even if its own audience holds them too.
select
    members.program,
    members.customer_id,
    members.anchor_at,
    members.audience_reason,
    members.lapse_days
from members
where
    not exists (
        select 1 from handed_over
        where members.program = handed_over.program and members.customer_id = handed_over.customer_id
    )
