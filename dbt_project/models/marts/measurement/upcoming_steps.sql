-- Counted before anything else is joined: PostgreSQL guesses how many rows match in three columns, and far too few.
with waiting as (
    select
        journeys.next_step_due_on,
        journeys.program,
        journeys.version,
        journeys.next_step_no,
        journeys.arm,
        {{ or_none('customers.brand') }} as brand,
        coalesce(customers.reachable_email, false) as reachable_email,
        coalesce(customers.reachable_sms, false) as reachable_sms,
        coalesce(customers.reachable_push, false) as reachable_push,
        count(*) as journeys
    from {{ ref('journey_enrolments') }} as journeys
    -- A message on its way holds up the next step until it is known what became of it.
    left join {{ ref('stg_ledger__steps') }} as steps
        on journeys.enrolment_id = steps.enrolment_id and journeys.next_step_no = steps.step_no
    left join {{ ref('customers') }} as customers on journeys.customer_id = customers.customer_id
    where journeys.status = 'open' and journeys.next_step_no is not null and steps.enrolment_id is null
    group by
        journeys.next_step_due_on,
        journeys.program,
        journeys.version,
        journeys.next_step_no,
        journeys.arm,
        {{ or_none('customers.brand') }},
        coalesce(customers.reachable_email, false),
        coalesce(customers.reachable_sms, false),
        coalesce(customers.reachable_push, false)
),

-- The place of each channel among those of a step.
places as (
    select
        program,
        version,
        step_no,
        min(case when channel = 'email' then position end) as email_place,
        min(case when channel = 'sms' then position end) as sms_place,
        min(case when channel = 'push' then position end) as push_place
    from {{ ref('stg_programs__step_channels') }}
    group by program, version, step_no
),

placed as (
    select
        waiting.*,
        steps.kind,
        steps.content,
        places.email_place,
        places.sms_place,
        places.push_place,
        {{ least_known([
            'case when waiting.reachable_email then places.email_place end',
            'case when waiting.reachable_sms then places.sms_place end',
            'case when waiting.reachable_push then places.push_place end',
        ]) }} as first_place
    from waiting
    inner join {{ ref('stg_programs__steps') }} as steps
        on
            waiting.program = steps.program
            and waiting.version = steps.version
            and waiting.next_step_no = steps.step_no
    left join places
        on
            waiting.program = places.program
            and waiting.version = places.version
            and waiting.next_step_no = places.step_no
),

chosen as (
    select
        *,
        case
            when kind = 'task' then 'task'
            when first_place = email_place then 'email'
            when first_place = sms_place then 'sms'
            when first_place = push_place then 'push'
        end as first_channel
    from placed
)

select
    next_step_due_on as due_on,
    program,
    version,
    brand,
    next_step_no as step_no,
    kind,
    content,
    {{ or_none('first_channel') }} as channel,
    arm,
    next_step_due_on <= {{ as_of_date() }} as is_due,
    cast(sum(journeys) as bigint) as journeys
from chosen
group by
    next_step_due_on,
    program,
    version,
    brand,
    next_step_no,
    kind,
    content,
    first_channel,
    arm
