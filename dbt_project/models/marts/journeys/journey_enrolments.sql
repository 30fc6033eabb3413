select
    enrolment_id,
    program,
    version,
    customer_id,
    anchor_at,
    arm,
    enrolled_at,
    status,
    exit_reason,
    coalesce(exited_at, completed_at) as exited_at,
    step_count,
    steps_done,
    next_step_no,
    next_step_due_on
from {{ ref('int_journeys__enrolments_resolved') }}

union all

select
    admissions.enrolment_id,
    admissions.program,
    admissions.version,
    admissions.customer_id,
    admissions.anchor_at,
    admissions.arm,
    admissions.as_of as enrolled_at,
    'open' as status,
    cast(null as {{ type_text() }}) as exit_reason,
    cast(null as timestamp) as exited_at,
    programs.step_count,
    0 as steps_done,
    steps.step_no as next_step_no,
    {{ days_after(as_of_date(), 'steps.day') }} as next_step_due_on
from {{ ref('journey_admissions') }} as admissions
inner join {{ ref('stg_programs__in_force') }} as programs on admissions.program = programs.program
left join {{ ref('stg_programs__steps') }} as steps
    on
        admissions.program = steps.program
        and admissions.version = steps.version
        and steps.step_no = {{ var('first_step_no') }}
where admissions.decision = 'admitted'
