{#- Everything that the comparison of the arms needs, in sums: exact in any order, and few rows however many journeys there are. -#}
{%- set arms = ['treatment', 'holdout'] -%}

-- Who enters a program a second time depends on what the first time did, so only first entries are alike in both arms.
with journeys as (
    select
        *,
        entry_no = 1 and is_mature as is_counted,
        cast(discounts as {{ type_double() }}) as discount
    from {{ ref('fct_enrolments') }}
)

select
    program,
    version,
    cohort_month
    {%- for arm in arms %},
    count(case when arm = '{{ arm }}' then 1 end) as {{ arm }}_journeys,
    count(case when arm = '{{ arm }}' and entry_no = 1 then 1 end) as {{ arm }}_first_entries,
    count(case when arm = '{{ arm }}' and is_counted then 1 end) as {{ arm }}_enrolled,
    count(case when arm = '{{ arm }}' and is_counted and purchased then 1 end) as {{ arm }}_purchased,
    cast(coalesce(sum(case when arm = '{{ arm }}' and is_counted then orders end), 0) as bigint) as {{ arm }}_orders,
    cast(
        coalesce(sum(case when arm = '{{ arm }}' and is_counted then cast(orders as bigint) * orders end), 0) as bigint
    ) as {{ arm }}_orders_squared,
    cast(coalesce(sum(case when arm = '{{ arm }}' and is_counted then revenue end), 0) as {{ type_money() }}) as {{ arm }}_revenue,
    cast(
        coalesce(sum(case when arm = '{{ arm }}' and is_counted then revenue * revenue end), 0) as {{ type_double() }}
    ) as {{ arm }}_revenue_squared,
    coalesce(sum(case when arm = '{{ arm }}' and is_counted then discount end), 0) as {{ arm }}_discounts
    {%- endfor %},
    cast(coalesce(sum(case when is_counted then message_cost end), 0) as {{ type_money() }}) as message_cost,
    cast(coalesce(sum(case when is_counted then attributed_orders end), 0) as bigint) as attributed_orders,
    cast(coalesce(sum(case when is_counted then attributed_revenue end), 0) as {{ type_money() }}) as attributed_revenue,
    cast(min(case when entry_no = 1 and not is_mature then window_closes_at end) as date) as next_window_closes_on
from journeys
group by program, version, cohort_month
