select
    program,
    brand,
    channel,
    ordered_on,
    cast(floor(hours_since_touch) as integer) as hours,
    count(*) as orders,
    count(distinct customer_id) as customers,
    cast(sum(net_value) as {{ type_money() }}) as revenue,
    count(case when coupon_match then 1 end) as coupon_orders
from {{ ref('order_attribution') }}
where is_last_touch
group by program, brand, channel, ordered_on, cast(floor(hours_since_touch) as integer)
