with enrolments as (
    select * from {{ ref('stg_ledger__enrolments') }}
),

versions as (
    select * from {{ ref('stg_programs__versions') }}
),

steps as (
    select * from {{ ref('stg_programs__steps') }}
),

progress as (
    select
        enrolments.enrolment_id,
        count(case when resolved.is_resolved then 1 end) as steps_done,
        {{ dbt.bool_or("not resolved.is_resolved") }} as is_waiting,
        max(resolved.done_on) as last_done_on,
        -- A step that was done late moves everything after it: the distances between steps are kept, never caught up.
        max({{ days_after('resolved.done_on', '-coalesce(steps.day, 0)') }}) as moved_to
    from enrolments
    inner join {{ ref('int_journeys__steps_resolved') }} as resolved on enrolments.enrolment_id = resolved.enrolment_id
    left join steps
        on
            enrolments.program = steps.program
            and enrolments.version = steps.version
            and resolved.step_no = steps.step_no
    group by enrolments.enrolment_id
)

select
    enrolments.enrolment_id,
    enrolments.program,
    enrolments.version,
    enrolments.customer_id,
    enrolments.anchor_at,
    enrolments.arm,
    enrolments.reason as audience_reason,
    enrolments.enrolled_at,
    versions.program_group,
    versions.priority,
    versions.exclude_purchased_within_days,
    versions.exit_on_purchase,
    versions.exit_on_engagement,
    versions.complete_after_days,
    versions.complete_tag,
    versions.complete_suppress_days,
    versions.complete_then,
    versions.complete_limit_channel,
    versions.complete_limit_messages,
    versions.complete_limit_days,
    versions.step_count,
    cast(coalesce(progress.steps_done, 0) as integer) as steps_done,
    cast(coalesce(progress.steps_done, 0) as integer) + 1 as next_step_no,
    coalesce(progress.is_waiting, false) as is_waiting,
    progress.last_done_on,
    {{ greatest_known(["cast(enrolments.enrolled_at as date)", "progress.moved_to"]) }} as schedule_starts_on,
    case
        when progress.steps_done < versions.step_count then null
        -- The journey is over when the day of its last step is: what happens on that day still belongs to it, in both arms.
        when versions.complete_after_days = 0 then {{ days_after('progress.last_done_on', 1) }}
        else {{ days_after('progress.last_done_on', 'versions.complete_after_days') }}
    end as completes_on
from enrolments
left join versions on enrolments.program = versions.program and enrolments.version = versions.version
left join progress on enrolments.enrolment_id = progress.enrolment_id
