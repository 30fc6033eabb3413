{{ passed_on(whole='view') }}

select
    order_id,
    customer_id,
    ordered_at,
    ordered_on,
    net_value,
    sales_channel
from {{ ref('int_orders__purchases') }}
where {{ of_touched() }}
