with lines as (
    select * from {{ ref('stg_shop__order_lines') }}
),

products as (
    select * from {{ ref('stg_shop__products') }}
),

purchases as (
    select * from {{ ref('int_orders__purchases') }}
),

categories as (
    select
        lines.order_id,
        products.category
    from lines
    inner join products on lines.product_id = products.product_id
    where products.category is not null
    group by lines.order_id, products.category
),

counted as (
    select
        purchases.customer_id,
        categories.category,
        count(*) as order_count,
        max(purchases.ordered_at) as last_ordered_at
    from categories
    inner join purchases on categories.order_id = purchases.order_id
    group by purchases.customer_id, categories.category
),

ranked as (
    select
        customer_id,
        category,
        row_number() over (partition by customer_id order by order_count desc, last_ordered_at desc, category asc) as category_rank
    from counted
)

select
    customer_id,
    category as main_category
from ranked
where category_rank = 1
