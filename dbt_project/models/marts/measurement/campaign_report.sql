with counted as (
    select
        program,
        version,
        brand,
        cohort_week,
        arm,
        count(*) as started,
        count(case when status = 'open' then 1 end) as still_open,
        count(case when status = 'exited' then 1 end) as exited,
        count(case when status = 'completed' then 1 end) as completed,
        count(case when purchased then 1 end) as purchased,
        cast(sum(orders) as bigint) as orders,
        cast(sum(revenue) as {{ type_money() }}) as revenue,
        cast(sum(messages) as bigint) as messages,
        cast(sum(message_cost) as {{ type_money() }}) as message_cost,
        cast(sum(attributed_orders) as bigint) as attributed_orders,
        cast(sum(attributed_revenue) as {{ type_money() }}) as attributed_revenue,
        max(window_days) as window_days,
        cast(max(window_closes_at) as date) as window_closes_on,
        not {{ dbt.bool_or("not is_mature") }} as is_mature
    from {{ ref('fct_enrolments') }}
    group by program, version, brand, cohort_week, arm
)

select
    program,
    version,
    brand,
    cohort_week,
    arm,
    started,
    still_open,
    exited,
    completed,
    purchased,
    orders,
    revenue,
    messages,
    message_cost,
    attributed_orders,
    attributed_revenue,
    {%- for part in ['still_open', 'exited', 'completed', 'purchased'] %}
    100.0 * cast({{ part }} as {{ type_double() }}) / started as {{ part }}_percentage,
    {%- endfor %}
    cast(revenue as {{ type_double() }}) / started as revenue_per_started,
    window_days,
    window_closes_on,
    is_mature
from counted
