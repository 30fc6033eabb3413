{{ passed_on() }}

with order_days as (
    select
        *,
        {{ days_between("previous_ordered_on", "ordered_on") }} as gap_days
    from {{ touched_rows('int_orders__order_days') }}
),

summed as (
    select
        customer_id,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at,
        min(ordered_on) as first_ordered_on,
        max(ordered_on) as last_ordered_on,
        cast(sum(order_count) as integer) as order_count,
        cast(count(*) as integer) as order_day_count,
        cast(sum(net_value) as {{ type_money() }}) as lifetime_value,
        cast(count(gap_days) as {{ type_double() }}) as gaps,
        cast(sum(gap_days) as {{ type_double() }}) as days_of_gaps,
        cast(sum(cast(gap_days as bigint) * gap_days) as {{ type_double() }}) as squares_of_gaps,
        percentile_cont(0.5) within group (order by gap_days) as median_purchase_interval
    from order_days
    group by customer_id
)

select
    customer_id,
    first_ordered_at,
    last_ordered_at,
    first_ordered_on,
    last_ordered_on,
    order_count,
    order_day_count,
    lifetime_value,
    days_of_gaps / nullif(gaps, 0) as average_purchase_interval,
    median_purchase_interval,
    -- From whole sums, which are exact in any order; a running variance would differ in its last digits from run to run.
    case
        when gaps >= 2 then sqrt((gaps * squares_of_gaps - days_of_gaps * days_of_gaps) / (gaps * (gaps - 1)))
    end as purchase_interval_stddev
from summed
