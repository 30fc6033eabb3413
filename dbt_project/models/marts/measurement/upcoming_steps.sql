with journeys as (
    select
        journeys.enrolment_id,
        journeys.program,
        journeys.version,
        journeys.customer_id,
        journeys.arm,
        journeys.next_step_no,
        journeys.next_step_due_on
    from {{ ref('journey_enrolments') }} as journeys
    -- A message on its way holds up the next step until it is known what became of it.
    left join {{ ref('stg_ledger__steps') }} as steps
        on journeys.enrolment_id = steps.enrolment_id and journeys.next_step_no = steps.step_no
    where journeys.status = 'open' and journeys.next_step_no is not null and steps.step_id is null
),

choices as (
    select
        journeys.enrolment_id,
        channels.channel,
        row_number() over (partition by journeys.enrolment_id order by channels.position) as preference
    from journeys
    inner join {{ ref('stg_programs__step_channels') }} as channels
        on
            journeys.program = channels.program
            and journeys.version = channels.version
            and journeys.next_step_no = channels.step_no
    inner join {{ ref('customers') }} as customers on journeys.customer_id = customers.customer_id
    where
        (channels.channel = 'email' and customers.reachable_email)
        or (channels.channel = 'sms' and customers.reachable_sms)
        or (channels.channel = 'push' and customers.reachable_push)
)

select
    journeys.next_step_due_on as due_on,
    journeys.program,
    journeys.version,
    {{ or_none('customers.brand') }} as brand,
    journeys.next_step_no as step_no,
    steps.kind,
    steps.content,
    case when steps.kind = 'task' then 'task' else {{ or_none('choices.channel') }} end as channel,
    journeys.arm,
    journeys.next_step_due_on <= {{ as_of_date() }} as is_due,
    count(*) as journeys
from journeys
inner join {{ ref('stg_programs__steps') }} as steps
    on
        journeys.program = steps.program
        and journeys.version = steps.version
        and journeys.next_step_no = steps.step_no
left join choices on journeys.enrolment_id = choices.enrolment_id and choices.preference = 1
left join {{ ref('customers') }} as customers on journeys.customer_id = customers.customer_id
group by
    journeys.next_step_due_on,
    journeys.program,
    journeys.version,
    {{ or_none('customers.brand') }},
    journeys.next_step_no,
    steps.kind,
    steps.content,
    case when steps.kind = 'task' then 'task' else {{ or_none('choices.channel') }} end,
    journeys.arm
