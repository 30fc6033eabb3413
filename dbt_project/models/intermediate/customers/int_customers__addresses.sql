{{ kept_by_customer(touched='int_customers__readdressed') }}

with known as (
    {{ touched_customers(touched='int_customers__readdressed') }}
),

-- Read twice below: an engine that computes it once keeps no more than it needs.
customers as (
    select customer_id, email, phone from known
),

devices as (
    select customer_id, push_token
    from {{ ref('stg_shop__devices') }}
    where customer_id is not null and {{ of_touched(touched='int_customers__readdressed') }}
),

addresses as (
    select 'email' as channel, email as address, customer_id from customers where email is not null
    union all
    select 'sms' as channel, phone as address, customer_id from customers where phone is not null
    union all
    select 'push' as channel, push_token as address, customer_id from devices where push_token is not null
)

select
    customer_id,
    channel,
    address,
    {{ sha256_hex("address") }} as address_hash
from addresses
