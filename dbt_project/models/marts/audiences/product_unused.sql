with customers as (
    select
        customer_id,
        last_used_at as anchor_at,
        'no_login_or_action' as reason,
        days_since_last_product_use as lapse_days
    from {{ ref('customers') }}
    where last_used_at is not null
),

asked_for as (
    {{ widest_lapse_days('product_unused', var('product_unused_from_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
