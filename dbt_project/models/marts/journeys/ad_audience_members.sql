with rests as (
    select distinct customer_id
    from {{ ref('int_journeys__followups_due') }}
    where action = 'suppress'
)

select
    platforms.platform,
    journeys.program,
    journeys.customer_id,
    min(journeys.enrolment_id) as enrolment_id,
    min(journeys.enrolled_at) as entered_at
from {{ ref('journey_enrolments') }} as journeys
inner join {{ ref('stg_programs__ad_platforms') }} as platforms
    on journeys.program = platforms.program and journeys.version = platforms.version
inner join {{ ref('customers') }} as customers on journeys.customer_id = customers.customer_id
left join rests on journeys.customer_id = rests.customer_id
where
    journeys.status = 'open'
    and journeys.arm = 'treatment'
    and case platforms.channel when 'email' then customers.reachable_email else customers.reachable_ads end
    and rests.customer_id is null
group by platforms.platform, journeys.program, journeys.customer_id
