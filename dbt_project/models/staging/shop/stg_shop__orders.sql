select
    order_id,
    customer_id,
    ordered_at,
    lower(status) as status,
    coalesce(total, 0) as total,
    coalesce(refunded, 0) as refunded,
    currency,
    coupon_code,
    sales_channel
from {{ source('raw', 'orders') }}
where ordered_at < {{ as_of() }}
