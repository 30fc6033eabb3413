with customers as (
    select
        customer_id,
        last_email_engaged_at as anchor_at,
        'no_open_or_click' as reason,
        days_since_last_email_engagement as lapse_days
    from {{ ref('customers') }}
    where last_email_engaged_at is not null
),

asked_for as (
    {{ widest_lapse_days('email_fading', var('email_fading_from_days')) }}
)

select
    customers.customer_id,
    customers.anchor_at,
    customers.reason,
    customers.lapse_days
from customers
cross join asked_for
where {{ is_asked_for('customers.lapse_days') }}
