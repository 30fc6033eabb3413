with customers as (
    select
        customer_id,
        cast(tier_changed_on as timestamp) as anchor_at,
        engagement_tier as reason,
        {{ days_ago("tier_changed_on") }} as lapse_days
    from {{ ref('customers') }}
    where engagement_tier <> 'active' and last_active_at is not null
),

asked_for as (
    {{ widest_lapse_days('tier_drop', var('tier_drop_from_days'), var('tier_drop_below_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
