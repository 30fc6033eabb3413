with known as (
    select
        customer_id,
        nullif(lower(trim(email)), '') as email,
        {{ without_matches("phone", "[^0-9+]") }} as dialled,
        nullif(trim(first_name), '') as first_name,
        nullif(trim(last_name), '') as last_name,
        upper(nullif(trim(country), '')) as country,
        nullif(trim(timezone), '') as timezone,
        nullif(trim(language), '') as language,
        nullif(trim(brand), '') as brand,
        created_at,
        extras,
        row_number() over (partition by customer_id order by created_at nulls last, email nulls last, phone nulls last) as copy_no
    from {{ source('raw', 'customers') }}
    where created_at < {{ as_of() }} or created_at is null
)

select
    customer_id,
    email,
    nullif(case when dialled like '00%' then '+' || substring(dialled, 3) else dialled end, '') as phone,
    first_name,
    last_name,
    country,
    timezone,
    language,
    brand,
    created_at,
    extras
from known
where copy_no = 1
