{{ passed_on() }}

with active_days as (
    select customer_id, first_on, last_on from {{ touched_rows('int_engagement__periods') }}
    union all
    select customer_id, ordered_on as first_on, ordered_on as last_on
    from {{ touched_rows('int_orders__order_days') }}
),

followed as (
    select
        customer_id,
        first_on,
        max(last_on) over (
            partition by customer_id order by first_on, last_on
            rows between unbounded preceding and 1 preceding
        ) as previous_active_on,
        max(last_on) over (partition by customer_id) as last_active_on
    from active_days
),

begun as (
    select *
    from followed
    where
        previous_active_on is null
        or {{ days_between("previous_active_on", "first_on") }} >= {{ var("tier_at_risk_from_days") }}
),

numbered as (
    select
        customer_id,
        first_on,
        last_active_on,
        previous_active_on,
        lead(first_on) over (partition by customer_id order by first_on) as next_active_from,
        lead(previous_active_on) over (partition by customer_id order by first_on) as ended_on
    from begun
)

select
    customer_id,
    first_on as active_from,
    coalesce(ended_on, last_active_on) as active_to,
    previous_active_on,
    next_active_from
from numbered
