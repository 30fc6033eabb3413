with known as (
    select
        *,
        {{ without_matches("phone", "[^0-9+]") }} as dialled
    from {{ source('raw', 'customers') }}
    where created_at < {{ as_of() }} or created_at is null
)

select
    customer_id,
    nullif(lower(trim(email)), '') as email,
    nullif(case when dialled like '00%' then '+' || substring(dialled, 3) else dialled end, '') as phone,
    nullif(trim(first_name), '') as first_name,
    nullif(trim(last_name), '') as last_name,
    upper(nullif(trim(country), '')) as country,
    nullif(trim(timezone), '') as timezone,
    nullif(trim(language), '') as language,
    nullif(trim(brand), '') as brand,
    created_at,
    extras
from known
