{{ passed_on() }}

with purchases as (
    select order_id, customer_id, ordered_at
    from {{ touched_rows('int_orders__purchases_gathered') }}
),

-- Products may write a category in any case, as the cycles may.
products as (
    select
        product_id,
        category,
        lower(category) as category_key
    from {{ ref('stg_shop__products') }}
    where category is not null
),

-- An order with several products of a category is one order of it.
bought as (
    select
        lines.order_id,
        products.category_key,
        min(products.category) as category,
        min(purchases.customer_id) as customer_id,
        min(purchases.ordered_at) as ordered_at
    from purchases
    inner join {{ ref('stg_shop__order_lines') }} as lines on purchases.order_id = lines.order_id
    inner join products on lines.product_id = products.product_id
    group by lines.order_id, products.category_key
),

counted as (
    select
        customer_id,
        category_key,
        min(category) as category,
        count(*) as order_count,
        max(ordered_at) as last_ordered_at
    from bought
    group by customer_id, category_key
),

ranked as (
    select
        customer_id,
        category,
        row_number() over (partition by customer_id order by order_count desc, last_ordered_at desc, category_key asc) as category_rank
    from counted
)

select
    customer_id,
    category as main_category
from ranked
where category_rank = 1
