{{ passed_on() }}

with purchases as (
    select order_id, customer_id, ordered_at
    from {{ touched_rows('int_orders__purchases_gathered') }}
),

-- Products may write a category in any case, as the cycles may.
named as (
    select
        product_id,
        category,
        lower(category) as category_key
    from {{ ref('stg_shop__products') }}
    where category is not null
),

-- Every line of every order is grouped: by numbers, which sort as the names do.
products as (
    select
        product_id,
        category,
        dense_rank() over (order by category) as spelling_no,
        dense_rank() over (order by category_key) as category_no
    from named
),

spellings as (
    select distinct
        spelling_no,
        category
    from products
),

-- An order with several products of a category is one order of it.
bought as (
    select
        purchases.order_id,
        purchases.customer_id,
        purchases.ordered_at,
        products.category_no,
        min(products.spelling_no) as spelling_no
    from purchases
    inner join {{ ref('stg_shop__order_lines') }} as lines on purchases.order_id = lines.order_id
    inner join products on lines.product_id = products.product_id
    group by purchases.order_id, purchases.customer_id, purchases.ordered_at, products.category_no
),

counted as (
    select
        customer_id,
        category_no,
        min(spelling_no) as spelling_no,
        count(*) as order_count,
        max(ordered_at) as last_ordered_at
    from bought
    group by customer_id, category_no
),

ranked as (
    select
        customer_id,
        spelling_no,
        row_number() over (partition by customer_id order by order_count desc, last_ordered_at desc, category_no asc) as category_rank
    from counted
)

select
    ranked.customer_id,
    spellings.category as main_category
from ranked
inner join spellings on ranked.spelling_no = spellings.spelling_no
where ranked.category_rank = 1
