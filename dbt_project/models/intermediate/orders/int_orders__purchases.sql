{{ config(materialized='view') }}

with orders as (
    select * from {{ ref('stg_shop__orders') }}
),

currency_rates as (
    select * from {{ ref('currency_rates') }}
)

select
    orders.order_id,
    orders.customer_id,
    orders.ordered_at,
    cast(orders.ordered_at as date) as ordered_on,
    case
        when currency_rates.rate is null then cast(orders.total - orders.refunded as {{ type_money() }})
        else cast((orders.total - orders.refunded) * currency_rates.rate as {{ type_money() }})
    end as net_value,
    orders.coupon_code,
    orders.sales_channel
from orders
left join currency_rates on orders.currency = currency_rates.currency
where
    orders.customer_id is not null
    -- A free order is a purchase; an order whose whole price was given back is none.
    and (orders.status is null or orders.status not in ('{{ var("statuses_of_no_purchase") | join("', '") }}')) -- noqa: LT05
    and not (orders.refunded > 0 and orders.refunded >= orders.total)
