-- Customers who vanish between an audience and its program are lost without a trace, and every percentage of the waterfall is wrong.
-- Each member of a live program's audience, and nobody twice, has exactly one decision.
with expected as (
    select
        programs.program,
        members.customer_id
    from {{ ref('stg_programs__in_force') }} as programs
    inner join {{ ref('int_audiences__members') }} as members on programs.audience = members.audience
    where
        programs.is_live
        and members.lapse_days >= coalesce(
            programs.lapse_days_at_least, {{ own_lapse_days('programs.audience', 'from') }}, members.lapse_days
        )
        and members.lapse_days < coalesce(
            programs.lapse_days_below, {{ own_lapse_days('programs.audience', 'below') }}, members.lapse_days + 1
        )
),

decided as (
    select
        program,
        customer_id,
        max(audience_reason) as audience_reason,
        count(*) as decisions,
        count(*) filter (where (decision = 'admitted') = (reason is null)) as consistent_decisions
    from {{ ref('journey_admissions') }}
    group by program, customer_id
),

waterfall as (
    select
        program,
        sum(customers) as customers
    from {{ ref('admission_waterfall') }}
    group by program
),

decided_by_program as (
    select
        program,
        count(*) as customers
    from decided
    group by program
)

select
    coalesce(expected.program, decided.program) as program,
    coalesce(expected.customer_id, decided.customer_id) as customer_id
from expected
full outer join decided on expected.program = decided.program and expected.customer_id = decided.customer_id
where
    decided.customer_id is null
    or decided.decisions <> 1
    or decided.consistent_decisions <> 1
    or (expected.customer_id is null and decided.audience_reason <> 'handed over')

union all

select
    waterfall.program,
    null as customer_id
from waterfall
left join decided_by_program on waterfall.program = decided_by_program.program
where waterfall.customers <> coalesce(decided_by_program.customers, 0)
