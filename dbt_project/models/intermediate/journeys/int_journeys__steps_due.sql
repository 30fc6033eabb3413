with journeys as (
    select
        enrolment_id,
        program,
        version,
        customer_id,
        arm,
        next_step_no,
        schedule_starts_on
    from {{ ref('int_journeys__enrolments_resolved') }}
    -- A message on its way holds up the next step until it is known what became of it.
    where status = 'open' and not is_waiting and next_step_due_on <= {{ as_of_date() }}

    union all

    select
        enrolment_id,
        program,
        version,
        customer_id,
        arm,
        {{ var('first_step_no') }} as next_step_no,
        {{ as_of_date() }} as schedule_starts_on
    from {{ ref('journey_admissions') }}
    where decision = 'admitted'
),

due as (
    select
        journeys.enrolment_id,
        journeys.program,
        journeys.version,
        journeys.customer_id,
        journeys.arm,
        journeys.next_step_no,
        steps.step_no,
        steps.kind,
        steps.content,
        steps.only_if,
        steps.unless,
        {{ days_after('journeys.schedule_starts_on', 'steps.day') }} as due_on
    from journeys
    inner join {{ ref('stg_programs__steps') }} as steps
        on
            journeys.program = steps.program
            and journeys.version = steps.version
            and journeys.next_step_no <= steps.step_no
    where {{ days_after('journeys.schedule_starts_on', 'steps.day') }} <= {{ as_of_date() }}
),

rests as (
    select distinct customer_id
    from {{ ref('int_journeys__followups_due') }}
    where action = 'suppress'
),

reached as (
    select
        due.enrolment_id,
        due.step_no,
        channels.channel,
        channels.position,
        channels.channel = 'email' and pauses.program is not null as is_paused
    from due
    inner join {{ ref('stg_programs__step_channels') }} as channels
        on
            due.program = channels.program
            and due.version = channels.version
            and due.step_no = channels.step_no
    inner join {{ ref('customers') }} as customers on due.customer_id = customers.customer_id
    left join rests on due.customer_id = rests.customer_id
    left join {{ ref('stg_ledger__email_pauses') }} as pauses on due.program = pauses.program
    where
        rests.customer_id is null
        and (
            (channels.channel = 'email' and customers.reachable_email)
            or (channels.channel = 'sms' and customers.reachable_sms)
            or (channels.channel = 'push' and customers.reachable_push)
        )
),

choices as (
    select
        enrolment_id,
        step_no,
        channel,
        is_paused,
        -- A channel that is paused is the last to be chosen: the step then waits for it.
        row_number() over (partition by enrolment_id, step_no order by case when is_paused then 1 else 0 end, position) as preference
    from reached
),

conditioned as (
    select
        due.*,
        coalesce(programs.is_live, false) as is_live,
        coalesce(programs.priority, 0) as priority,
        due.kind = 'send' and coalesce(choices.is_paused, false) as is_email_paused,
        case when due.kind = 'task' then 'task' else choices.channel end as channel,
        case
            when due.only_if is not null and not {{ is_in_segment('due.only_if', 'segments') }} then 'condition'
            when due.unless is not null and {{ is_in_segment('due.unless', 'segments') }} then 'condition'
            when due.kind = 'send' and choices.channel is null then 'unreachable'
        end as skip_reason
    from due
    left join {{ ref('stg_programs__in_force') }} as programs on due.program = programs.program
    left join choices
        on
            due.enrolment_id = choices.enrolment_id
            and due.step_no = choices.step_no
            and choices.preference = 1
    left join {{ ref('int_customers__segmented') }} as segments on due.customer_id = segments.customer_id
),

ordered as (
    select
        *,
        count(case when skip_reason is null or not is_live then step_no end) over (
            partition by enrolment_id
            order by step_no
            rows between unbounded preceding and 1 preceding
        ) as taken_before
    from conditioned
)

select
    enrolment_id,
    program,
    version,
    customer_id,
    arm,
    step_no,
    kind,
    content,
    channel,
    due_on,
    priority,
    is_live,
    is_email_paused,
    skip_reason
from ordered
-- Steps that are skipped make room for the next at once; the first that is not skipped is the only one taken.
where taken_before = 0
