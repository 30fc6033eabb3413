with programs as (
    select
        program,
        version
    from {{ ref('stg_programs__in_force') }}
    where is_live
),

reasons as (
    {{ reasons_in_order() }}
),

counted as (
    select
        program,
        coalesce(reason, 'admitted') as reason,
        count(*) as customers
    from {{ ref('journey_admissions') }}
    group by program, coalesce(reason, 'admitted')
)

select
    {{ as_of() }} as as_of,
    programs.program,
    programs.version,
    reasons.position,
    reasons.reason,
    cast(coalesce(counted.customers, 0) as bigint) as customers
from programs
cross join reasons
left join counted on programs.program = counted.program and reasons.reason = counted.reason
