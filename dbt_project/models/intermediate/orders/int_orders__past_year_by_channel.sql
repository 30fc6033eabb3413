{{ kept_by_customer() }}

with summed as (
    select
        customer_id,
        {{ or_none('sales_channel') }} as sales_channel,
        cast(count(*) as integer) as orders,
        cast(sum(net_value) as {{ type_money() }}) as revenue
    from {{ touched_rows('int_orders__purchases_gathered') }}
    where ordered_on > {{ days_after(as_of_date(), -var("recent_spend_days")) }}
    group by customer_id, {{ or_none('sales_channel') }}
)

select
    customer_id,
    sales_channel,
    cast(row_number() over (partition by customer_id order by sales_channel) as integer) as channel_no,
    orders,
    revenue
from summed
