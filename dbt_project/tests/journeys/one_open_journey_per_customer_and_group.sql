-- Two programs that talk to one customer at once double the pressure and make it unknowable which of them worked.
-- At most one open journey per customer and group, and at most one entry a day.
select
    journeys.customer_id,
    versions.program_group
from {{ ref('journey_enrolments') }} as journeys
inner join {{ ref('stg_programs__versions') }} as versions
    on journeys.program = versions.program and journeys.version = versions.version
where journeys.status = 'open'
group by journeys.customer_id, versions.program_group
having count(*) > 1
