with journeys as (
    select * from {{ ref('fct_enrolments') }}
),

-- A step that a journey has reached: those behind it, and the one it stands before or ended before.
reached as (
    select
        journeys.program,
        journeys.version,
        journeys.brand,
        journeys.arm,
        journeys.status,
        journeys.exit_reason,
        steps.step_no,
        steps.day,
        steps.content,
        steps.step_no <= journeys.steps_done as is_behind
    from journeys
    inner join {{ ref('stg_programs__steps') }} as steps
        on
            journeys.program = steps.program
            and journeys.version = steps.version
            and journeys.steps_done + 1 >= steps.step_no

    union all

    select
        program,
        version,
        brand,
        arm,
        status,
        exit_reason,
        step_count + 1 as step_no,
        cast(null as integer) as day,
        '(end)' as content,
        false as is_behind
    from journeys
    where steps_done >= step_count
),

labelled as (
    select
        *,
        case
            when is_behind then 'progressed'
            when status = 'open' then 'waiting'
            when status = 'completed' then 'completed'
            else exit_reason
        end as outcome
    from reached
)

select
    program,
    version,
    brand,
    arm,
    step_no,
    day,
    content,
    outcome,
    count(*) as journeys
from labelled
group by program, version, brand, arm, step_no, day, content, outcome
