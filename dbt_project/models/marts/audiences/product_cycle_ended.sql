with customers as (
    select
        customer_id,
        last_ordered_at as anchor_at,
        'product_cycle_ended' as reason,
        days_since_last_order - product_cycle_days as lapse_days
    from {{ ref('customers') }}
    where order_count > 0
),

asked_for as (
    {{ widest_lapse_days('product_cycle_ended', var('product_cycle_ended_from_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
