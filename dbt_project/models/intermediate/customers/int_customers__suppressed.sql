with suppressions as (
    select * from {{ ref('stg_ledger__suppressions') }}
),

suppressed_addresses as (
    select * from suppressions where address_hash is not null
),

profiles as (
    select customer_id, email, phone, push_token from {{ ref('int_customers__profiled') }}
),

-- Who left by a link of ours left with the address, whoever else is known by it.
left_by_link as (
    select suppressions.channel, profiles.email, profiles.phone, profiles.push_token
    from suppressions
    inner join profiles on suppressions.customer_id = profiles.customer_id
    where suppressions.reason = '{{ var("left_by_link") }}'
),

by_customer as (
    select customer_id, channel from suppressions where customer_id is not null

    union all

    select profiles.customer_id, left_by_link.channel
    from profiles
    inner join left_by_link on profiles.email = left_by_link.email
    where left_by_link.channel in ('all', 'email')

    union all

    select profiles.customer_id, left_by_link.channel
    from profiles
    inner join left_by_link on profiles.phone = left_by_link.phone
    where left_by_link.channel in ('all', 'sms')

    union all

    -- The address was refused, whoever holds it.
    select profiles.customer_id, suppressed_addresses.channel
    from suppressed_addresses
    inner join {{ ref('int_customers__addresses') }} as addresses on suppressed_addresses.address_hash = addresses.address_hash
    inner join profiles
        on
            addresses.customer_id = profiles.customer_id
            -- Of somebody's devices only the newest is written to.
            and addresses.address in (profiles.email, profiles.phone, profiles.push_token)
)

select
    customer_id
    {%- for channel in contact_channels() %},
    {{ dbt.bool_or("channel in ('all', '" ~ channel ~ "')") }} as {{ channel }}_is_suppressed
    {% endfor %} -- noqa: LT02
from by_customer
group by customer_id
