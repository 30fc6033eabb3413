with contacts as (
    select
        customer_id,
        -- "none" or "n/a", which many have, makes nobody the same person.
        case when email_unreachable_reason = 'invalid_address' then null else email end as email,
        case when sms_unreachable_reason = 'invalid_address' then null else phone end as phone,
        created_at,
        active_to
    from {{ ref('int_customers__profiled') }}
),

addresses as (
    select 1 as address_kind, email as address, customer_id, created_at, active_to from contacts where email is not null
    union all
    select 2 as address_kind, phone as address, customer_id, created_at, active_to from contacts where phone is not null
),

shared_addresses as (
    select address_kind, address
    from addresses
    group by address_kind, address
    having count(*) > 1
),

sharing as (
    select
        addresses.address_kind,
        addresses.address,
        addresses.customer_id,
        addresses.created_at,
        addresses.active_to
    from addresses
    inner join shared_addresses
        on addresses.address_kind = shared_addresses.address_kind and addresses.address = shared_addresses.address
),

compared as (
    select
        address_kind,
        customer_id,
        first_value(customer_id) over (
            partition by address_kind, address
            order by active_to desc nulls last, created_at desc nulls last, customer_id asc
            rows between unbounded preceding and unbounded following
        ) as freshest_customer_id
    from sharing
),

duplicates as (
    select
        customer_id,
        freshest_customer_id,
        -- The mailbox says more about who is one person than a phone that a household may share.
        row_number() over (partition by customer_id order by address_kind) as kind_rank
    from compared
    where customer_id <> freshest_customer_id
)

select
    customer_id,
    freshest_customer_id as duplicate_of
from duplicates
where kind_rank = 1
