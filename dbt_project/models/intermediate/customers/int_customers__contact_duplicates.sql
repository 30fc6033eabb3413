{#- The mailbox says more about who is one person than a phone that a household may share. "none" or "n/a", which many have, makes nobody the
    same person. -#}
{%- set addresses = [
    ("email", "(email_unreachable_reason is null or email_unreachable_reason <> 'invalid_address')"),
    ("phone", "(sms_unreachable_reason is null or sms_unreachable_reason <> 'invalid_address')"),
] -%}

-- Everybody is read twice for each kind of address, and nobody copied: few share one.
with
{%- for address, is_address in addresses %}
{{ address }}s as (
    select
        {{ address }} as address,
        customer_id,
        created_at,
        active_to
    from {{ ref('int_customers__profiled') }}
    where {{ address }} is not null and {{ is_address }}
),

shared_{{ address }}s as (
    select {{ address }} as address
    from {{ ref('int_customers__profiled') }}
    where {{ address }} is not null and {{ is_address }}
    group by {{ address }}
    having count(*) > 1
),
{% endfor %}
sharing as (
    {%- for address, _ in addresses %}
    select
        {{ loop.index }} as address_kind,
        {{ address }}s.address,
        {{ address }}s.customer_id,
        {{ address }}s.created_at,
        {{ address }}s.active_to
    from {{ address }}s
    inner join shared_{{ address }}s on {{ address }}s.address = shared_{{ address }}s.address
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- endfor %}
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
        row_number() over (partition by customer_id order by address_kind) as kind_rank
    from compared
    where customer_id <> freshest_customer_id
)

select
    customer_id,
    freshest_customer_id as duplicate_of
from duplicates
where kind_rank = 1
