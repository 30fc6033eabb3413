with customers as (
    select
        customer_id,
        last_active_at as anchor_at,
        'no_activity' as reason,
        days_since_last_activity as lapse_days
    from {{ ref('customers') }}
    where order_count > 0
),

asked_for as (
    {{ widest_lapse_days('customer_not_active', var('customer_not_active_from_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
