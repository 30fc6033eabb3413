{{ config(materialized='view') }}

select
    {{ as_of() }} as as_of,
    gates.program,
    gates.version,
    gates.customer_id,
    gates.anchor_at,
    gates.audience_reason,
    cast(gates.lapse_days as integer) as lapse_days,
    admitted.enrolment_id,
    admitted.arm,
    case when gates.reason is null then 'admitted' else 'blocked' end as decision,
    gates.reason
from {{ ref('int_journeys__gates_decided') }} as gates
left join {{ ref('int_journeys__admitted') }} as admitted
    on gates.reason is null and gates.program = admitted.program and gates.customer_id = admitted.customer_id
