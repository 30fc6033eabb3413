{{ config(materialized='view') }}

select
    {{ as_of() }} as as_of,
    programs.program,
    programs.version,
    gates.customer_id,
    gates.anchor_at,
    gates.audience_reason,
    cast(gates.lapse_days as integer) as lapse_days,
    admitted.enrolment_id,
    admitted.arm,
    case when gates.gate_no is null then 'admitted' else 'blocked' end as decision,
    {{ gate_name('gates.gate_no') }} as reason
from {{ ref('int_journeys__gates_decided') }} as gates
inner join {{ ref('stg_programs__in_force') }} as programs on gates.turn = programs.turn
left join {{ ref('int_journeys__admitted') }} as admitted
    on gates.gate_no is null and programs.program = admitted.program and gates.customer_id = admitted.customer_id
