with enrolments as (
    select * from {{ ref('int_journeys__enrolments_progressed') }}
),

exits as (
    select
        *,
        {{ least_known(["purchased_at", "engaged_at", "consent_lost_at", "stopped_at", "superseded_at"]) }} as left_at
    from {{ ref('int_journeys__exits_found') }}
),

resolved as (
    select
        enrolments.*,
        exits.completed_at,
        exits.left_at,
        exits.purchased_at,
        exits.engaged_at,
        case
            when exits.completed_at <= coalesce(exits.left_at, exits.completed_at) then 'completed'
            when exits.left_at is not null then 'exited'
            else 'open'
        end as status,
        case
            when exits.completed_at <= coalesce(exits.left_at, exits.completed_at) then null
            when exits.left_at = exits.purchased_at then 'purchase'
            when exits.left_at = exits.engaged_at then 'engagement'
            when exits.left_at = exits.consent_lost_at then 'lost_consent'
            when exits.left_at = exits.stopped_at then 'program_stopped'
            when exits.left_at = exits.superseded_at then 'superseded'
        end as exit_reason
    from enrolments
    inner join exits on enrolments.enrolment_id = exits.enrolment_id
)

select
    resolved.enrolment_id,
    resolved.program,
    resolved.version,
    resolved.customer_id,
    resolved.anchor_at,
    resolved.arm,
    resolved.audience_reason,
    resolved.enrolled_at,
    resolved.program_group,
    resolved.priority,
    resolved.complete_tag,
    resolved.complete_suppress_days,
    resolved.complete_then,
    resolved.complete_limit_channel,
    resolved.complete_limit_messages,
    resolved.complete_limit_days,
    resolved.step_count,
    resolved.steps_done,
    resolved.is_waiting,
    resolved.schedule_starts_on,
    resolved.status,
    resolved.exit_reason,
    case when resolved.status = 'exited' then resolved.left_at end as exited_at,
    case when resolved.status = 'completed' then resolved.completed_at end as completed_at,
    resolved.purchased_at,
    resolved.engaged_at,
    case when resolved.status = 'open' then steps.step_no end as next_step_no,
    case when resolved.status = 'open' then {{ days_after('resolved.schedule_starts_on', 'steps.day') }} end as next_step_due_on
from resolved
left join {{ ref('stg_programs__steps') }} as steps
    on
        resolved.program = steps.program
        and resolved.version = steps.version
        and resolved.next_step_no = steps.step_no
