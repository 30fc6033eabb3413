-- A journey that catches up after an outage by sending two steps at once is what makes people unsubscribe.
-- At most one step of a journey is taken a day, and none that was decided before.
select
    actions.enrolment_id,
    cast(min(actions.step_no) as integer) as step_no
from {{ ref('journey_actions') }} as actions
where actions.decision in ('send', 'task', 'withhold')
group by actions.enrolment_id
having count(*) > 1

union all

select
    actions.enrolment_id,
    actions.step_no
from {{ ref('journey_actions') }} as actions
inner join {{ ref('stg_ledger__steps') }} as steps
    on actions.enrolment_id = steps.enrolment_id and actions.step_no = steps.step_no
