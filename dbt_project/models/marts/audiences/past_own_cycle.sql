with customers as (
    select
        customer_id,
        last_ordered_at as anchor_at,
        'past_own_cycle' as reason,
        cast(floor(days_past_cycle) as integer) as lapse_days
    from {{ ref('customers') }}
    where order_day_count >= 2
),

asked_for as (
    {{ widest_lapse_days('past_own_cycle', var('past_own_cycle_from_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
