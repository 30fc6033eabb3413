{%- set channels = ["email", "sms", "push", "ads"] -%}

with suppressions as (
    select * from {{ ref('stg_ledger__suppressions') }}
),

suppressed_addresses as (
    select * from suppressions where address_hash is not null
),

addressed as (
    select * from {{ ref('int_customers__addressed') }}
),

-- Who left by a link of ours left with the address, whoever else is known by it.
left_by_link as (
    select suppressions.channel, addressed.email, addressed.phone, addressed.push_token
    from suppressions
    inner join addressed on suppressions.customer_id = addressed.customer_id
    where suppressions.reason = '{{ var("left_by_link") }}'
),

by_customer as (
    select customer_id, channel from suppressions where customer_id is not null

    union all

    select addressed.customer_id, left_by_link.channel
    from addressed
    inner join left_by_link on addressed.email = left_by_link.email
    where left_by_link.channel in ('all', 'email')

    union all

    select addressed.customer_id, left_by_link.channel
    from addressed
    inner join left_by_link on addressed.phone = left_by_link.phone
    where left_by_link.channel in ('all', 'sms')

    union all

    -- The address was refused, whoever holds it.
    select addressed.customer_id, suppressed_addresses.channel
    from suppressed_addresses
    inner join {{ ref('int_customers__addresses') }} as addresses on suppressed_addresses.address_hash = addresses.address_hash
    inner join addressed
        on
            addresses.customer_id = addressed.customer_id
            -- Of somebody's devices only the newest is written to.
            and addresses.address in (addressed.email, addressed.phone, addressed.push_token)
)

select
    customer_id
    {%- for channel in channels %},
    {{ dbt.bool_or("channel in ('all', '" ~ channel ~ "')") }} as {{ channel }}_is_suppressed
    {% endfor %} -- noqa: LT02
from by_customer
group by customer_id
