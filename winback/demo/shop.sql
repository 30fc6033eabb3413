-- A redemption names a household and a day; of the baskets of that day the one with the largest coupon discount carries the code.
create table redemptions as
select household_id::varchar as customer_id, redemption_date::date as redeemed_on, min(coupon_upc)::varchar as coupon_code
from real_coupon_redemptions
group by all;

create table coupon_baskets as
select baskets.order_id, redemptions.coupon_code
from redemptions
inner join baskets on redemptions.customer_id = baskets.customer_id and redemptions.redeemed_on = baskets.ordered_at::date
qualify row_number() over (
    partition by redemptions.customer_id, redemptions.redeemed_on order by baskets.coupon_discount desc, baskets.total desc, baskets.order_id
) = 1;

create table products as
with sold as (
    select
        product_id,
        median(sales_value / quantity) filter (where quantity > 0 and sales_value > 0) as usual_price,
        min(transaction_timestamp) as first_sold_at
    from real_transactions
    group by product_id
)

select
    products.product_id::varchar as product_id,
    concat_ws(
        ', ',
        array_to_string(
            list_transform(
                string_split(lower(coalesce(products.product_type, products.product_category, products.department)), ' '),
                lambda word: upper(word[1]) || word[2:]
            ), ' '
        ),
        nullif(trim(products.package_size), '')
    ) as name,
    case
        when products.product_category in ('APPAREL', 'HOSIERY/SOCKS', 'SHOE CARE', 'WATCHES/CALCULATORS/LOBBY') then 'apparel'
        when products.department in ('HOUSEWARES', 'GARDEN CENTER', 'ELECT &PLUMBING')
            or products.product_category in (
                'HOME FURNISHINGS', 'PORTABLE ELECTRIC APPLIANCES', 'PERSONAL CARE APPLIANCES', 'COOKWARE & BAKEWARE', 'GLASSWARE & DINNERWARE',
                'DOMESTIC GOODS', 'PLASTIC HOUSEWARES', 'LAWN AND GARDEN SHOP'
            ) then 'furniture'
        when products.department = 'COSMETICS'
            or products.product_category in (
                'HAIR CARE PRODUCTS', 'HAIR CARE ACCESSORIES', 'HAND/BODY/FACIAL PRODUCTS', 'FRAGRANCES', 'ETHNIC PERSONAL CARE', 'SUNTAN',
                'SHAVING CARE PRODUCTS', 'DEODORANTS', 'SOAP - LIQUID & BAR', 'MAKEUP AND TREATMENT'
            ) then 'cosmetics'
        when products.department in (
            'GROCERY', 'PRODUCE', 'NUTRITION', 'MEAT', 'MEAT-PCKGD', 'DELI', 'PASTRY', 'SEAFOOD', 'SEAFOOD-PCKGD', 'SPIRITS', 'SALAD BAR',
            'FROZEN GROCERY', 'CHEF SHOPPE', 'RESTAURANT', 'DRUG GM'
        ) then 'consumables'
        else 'default'
    end as category,
    sold.usual_price::decimal(18, 2) as price,
    sold.first_sold_at as launched_at,
    'https://example.com/products/' || products.product_id as url,
    null::varchar as image_url
from real_products as products
left join sold on products.product_id = sold.product_id;

create table former_lines as
select
    former_orders.*,
    wanted.product_id,
    wanted.price
from former_orders
inner join (
    select product_id, price, row_number() over (order by product_id) as position
    from products
    where category = 'consumables' and price between 12 and 40
    qualify position <= 200
) as wanted on wanted.position = 1 + floor(chance('former product', former_orders.order_id) * 200)::integer;

create table orders as
select
    baskets.order_id,
    baskets.customer_id,
    baskets.ordered_at,
    'paid' as status,
    baskets.total,
    0::decimal(18, 2) as refunded,
    'USD' as currency,
    coupon_baskets.coupon_code,
    'store' as sales_channel
from baskets
left join coupon_baskets on baskets.order_id = coupon_baskets.order_id
union all
select order_id, customer_id, ordered_at, 'paid', price, 0, 'USD', null, 'store' from former_lines;

create table order_lines as
select
    basket_id::varchar as order_id,
    row_number() over (partition by basket_id order by product_id)::integer as line_no,
    product_id::varchar as product_id,
    quantity::decimal(18, 3) as quantity,
    (sales_value / greatest(quantity, 1))::decimal(18, 4) as unit_price
from real_transactions
union all
select order_id, 1, product_id, 1, price from former_lines;
