{{ config(uncompressed=['customer_id']) }}
{%- do free_memory_of_removed_rows() -%}
-- Every place of every audience waits here until all programs are compared, and is stored every day: numbers instead of names keep these millions of
-- rows narrow. Who reads them by name joins stg_programs__in_force.
with measured as (
    select
        turn,
        group_no,
        customer_id,
        anchor_at,
        audience_reason,
        lapse_days,
        lifetime_value,
        {{ gate_number('kept_out_by') }} as gate_no
    from {{ ref('int_journeys__gates_measured') }}
),

programs as (
    select
        turn,
        max_per_day
    from {{ ref('stg_programs__in_force') }}
),

-- Of the programs of a group that would take the customer today the first does.
taking as (
    select
        customer_id,
        group_no,
        min(turn) as turn,
        min(lifetime_value) as lifetime_value
    from measured
    where gate_no is null
    group by customer_id, group_no
),

-- Only those who pass everything else are ranked, and only those within the places of the day are told apart where their value is the same: to
-- sort everybody by a text as well takes four times as long.
valued as (
    select
        taking.customer_id,
        taking.group_no,
        taking.turn,
        programs.max_per_day,
        rank() over (partition by taking.turn order by taking.lifetime_value desc nulls last) as value_rank
    from taking
    inner join programs on taking.turn = programs.turn
),

placed as (
    select
        customer_id,
        turn,
        row_number() over (partition by turn order by value_rank, customer_id) as value_rank
    from valued
    where value_rank <= max_per_day
),

ranked as (
    select
        valued.customer_id,
        valued.group_no,
        valued.turn,
        valued.max_per_day,
        coalesce(placed.value_rank, valued.value_rank) as value_rank
    from valued
    left join placed on valued.customer_id = placed.customer_id and valued.turn = placed.turn
)

select
    measured.turn,
    measured.customer_id,
    measured.anchor_at,
    measured.audience_reason,
    measured.lapse_days,
    case when ranked.turn < measured.turn then ranked.turn end as preferred_turn,
    case when ranked.turn = measured.turn and ranked.max_per_day is not null then cast(ranked.value_rank as bigint) end as value_rank,
    case
        when measured.gate_no < {{ gate_no('higher_priority_program') }} then measured.gate_no
        when ranked.turn < measured.turn then {{ gate_no('higher_priority_program') }}
        when measured.gate_no is not null then measured.gate_no
        when ranked.value_rank > ranked.max_per_day then {{ gate_no('daily_cap') }}
    end as gate_no
from measured
left join ranked on measured.customer_id = ranked.customer_id and measured.group_no = ranked.group_no
