select
    customer_id,
    {{ normal_email('email') }} as email,
    {{ normal_phone('phone') }} as phone,
    nullif(trim(first_name), '') as first_name,
    nullif(trim(last_name), '') as last_name,
    upper(nullif(trim(country), '')) as country,
    nullif(trim(timezone), '') as timezone,
    nullif(trim(language), '') as language,
    nullif(trim(brand), '') as brand,
    created_at,
    extras
from {{ source('raw', 'customers') }}
where created_at < {{ as_of() }} or created_at is null
