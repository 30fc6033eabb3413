-- A holdout member who hears from us, on any channel or through an ad, spoils the measurement: lift looks smaller than it is.
-- No action that sends, no task and no ad audience holds one.
select
    enrolment_id,
    decision as place
from {{ ref('journey_actions') }}
where arm = 'holdout' and decision in ('send', 'task')

union all

select
    members.enrolment_id,
    members.platform as place
from {{ ref('ad_audience_members') }} as members
inner join {{ ref('journey_enrolments') }} as journeys
    on members.program = journeys.program and members.customer_id = journeys.customer_id
where journeys.arm = 'holdout'
