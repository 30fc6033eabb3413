{%- set dealt_by = ["'" ~ var('holdout_salt') ~ "'", 'programs.program', 'gates.customer_id'] -%}

-- The arm of a customer in a program is for good: it stays what it was at the first entry, even if the share left alone has changed since.
with first_entries as (
    select
        program,
        customer_id,
        arm,
        row_number() over (partition by program, customer_id order by enrolled_at, enrolment_id) as position
    from {{ ref('stg_ledger__enrolments') }}
)

select
    programs.program,
    gates.customer_id,
    {{ derived_id(['programs.program', 'gates.customer_id', timestamp_text('gates.anchor_at')]) }} as enrolment_id,
    coalesce(
        first_entries.arm,
        case
            when substring({{ derived_id(dealt_by) }}, 1, {{ var('holdout_digits') }}) < programs.holdout_below then 'holdout'
            else 'treatment'
        end
    ) as arm
from {{ ref('int_journeys__gates_decided') }} as gates
inner join {{ ref('stg_programs__in_force') }} as programs on gates.turn = programs.turn
left join first_entries
    on
        programs.program = first_entries.program
        and gates.customer_id = first_entries.customer_id
        and first_entries.position = 1
where gates.gate_no is null
