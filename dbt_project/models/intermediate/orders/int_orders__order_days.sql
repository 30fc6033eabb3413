{{ kept_by_customer() }}

with order_days as (
    select
        customer_id,
        ordered_on,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at,
        cast(count(*) as integer) as order_count,
        cast(sum(net_value) as {{ type_money() }}) as net_value
    from {{ touched_rows('int_orders__purchases_gathered') }}
    group by customer_id, ordered_on
)

select
    customer_id,
    ordered_on,
    lag(ordered_on) over (partition by customer_id order by ordered_on) as previous_ordered_on,
    first_ordered_at,
    last_ordered_at,
    order_count,
    net_value
from order_days
