{{ kept_by_customer(touched='int_customers__readdressed') }}

with addresses as (
    select 'email' as channel, email as address, customer_id from {{ ref('stg_shop__customers') }} where email is not null
    union all
    select 'sms' as channel, phone as address, customer_id from {{ ref('stg_shop__customers') }} where phone is not null
    union all
    select 'push' as channel, push_token as address, customer_id
    from {{ ref('stg_shop__devices') }} where push_token is not null and customer_id is not null
)

select
    customer_id,
    channel,
    address,
    {{ sha256_hex("address") }} as address_hash
from addresses
where {{ of_touched(touched='int_customers__readdressed') }}
