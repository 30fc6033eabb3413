{%- do free_memory_of_removed_rows() -%}
with measured as (
    select
        program,
        version,
        customer_id,
        anchor_at,
        audience_reason,
        lapse_days,
        program_group,
        turn,
        max_per_day,
        lifetime_value,
        kept_out_by
    from {{ ref('int_journeys__gates_measured') }}
),

programs as (
    select
        program,
        turn,
        max_per_day
    from measured
    group by program, turn, max_per_day
),

-- Of the programs of a group that would take the customer today the first does.
taking as (
    select
        customer_id,
        program_group,
        min(turn) as turn,
        min(lifetime_value) as lifetime_value
    from measured
    where kept_out_by is null
    group by customer_id, program_group
),

-- Only those who pass everything else are ranked.
ranked as (
    select
        taking.customer_id,
        taking.program_group,
        taking.turn,
        programs.program,
        programs.max_per_day,
        row_number() over (partition by taking.turn order by taking.lifetime_value desc nulls last, taking.customer_id asc) as value_rank
    from taking
    inner join programs on taking.turn = programs.turn
)

select
    measured.program,
    measured.version,
    measured.customer_id,
    measured.anchor_at,
    measured.audience_reason,
    measured.lapse_days,
    case when ranked.turn < measured.turn then ranked.program end as preferred_program,
    case when ranked.turn = measured.turn and ranked.max_per_day is not null then cast(ranked.value_rank as bigint) end as value_rank,
    case
        when measured.kept_out_by in ('{{ gates_before('higher_priority_program') | join("', '") }}') then measured.kept_out_by  -- noqa: LT05
        when ranked.turn < measured.turn then 'higher_priority_program'
        when measured.kept_out_by is not null then measured.kept_out_by
        when ranked.value_rank > ranked.max_per_day then 'daily_cap'
    end as reason
from measured
left join ranked on measured.customer_id = ranked.customer_id and measured.program_group = ranked.program_group
