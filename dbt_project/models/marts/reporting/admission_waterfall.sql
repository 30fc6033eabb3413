with programs as (
    select
        program,
        version,
        turn
    from {{ ref('stg_programs__in_force') }}
    where is_live
),

reasons as (
    {{ reasons_in_order() }}
),

counted as (
    select
        turn,
        coalesce(gate_no, {{ gate_no('admitted') }}) as position,
        count(*) as customers
    from {{ ref('int_journeys__gates_decided') }}
    group by turn, coalesce(gate_no, {{ gate_no('admitted') }})
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
left join counted on programs.turn = counted.turn and reasons.position = counted.position
