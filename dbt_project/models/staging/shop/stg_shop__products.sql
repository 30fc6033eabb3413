with known as (
    select
        product_id,
        name,
        nullif(trim(category), '') as category,
        price,
        launched_at,
        url,
        image_url,
        row_number() over (
            partition by product_id
            order by launched_at desc nulls last, category asc nulls last, name asc nulls last
        ) as copy_no
    from {{ source('raw', 'products') }}
    where launched_at < {{ as_of() }} or launched_at is null
)

select
    product_id,
    name,
    category,
    price,
    launched_at,
    url,
    image_url
from known
where copy_no = 1
