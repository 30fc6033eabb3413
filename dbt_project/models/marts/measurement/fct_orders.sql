{{ config(materialized='view') }}

select
    order_id,
    customer_id,
    ordered_at,
    ordered_on,
    {{ or_none('sales_channel') }} as sales_channel,
    coupon_code,
    net_value
from {{ ref('int_orders__purchases') }}
where ordered_on > {{ days_after(as_of_date(), -var('fct_orders_days')) }}
