select
    order_id,
    line_no,
    product_id,
    quantity,
    unit_price
from {{ source('raw', 'order_lines') }}
