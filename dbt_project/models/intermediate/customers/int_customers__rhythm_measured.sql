{{ passed_on() }}

with order_days as (
    select
        *,
        {{ days_between("previous_ordered_on", "ordered_on") }} as gap_days
    from {{ touched_rows('int_orders__order_days') }}
),

-- A median of few numbers for each of many is found by their places: percentile_cont keeps all numbers of all customers in memory on DuckDB,
-- and what else is under way may leave it none.
placed as (
    select
        *,
        row_number() over (partition by customer_id order by gap_days asc nulls last) as place,
        count(gap_days) over (partition by customer_id) as gap_count
    from order_days
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
        -- The one in the middle, or both.
        avg(case when place * 2 between gap_count and gap_count + 2 then cast(gap_days as {{ type_double() }}) end)
            as median_purchase_interval
    from placed
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
