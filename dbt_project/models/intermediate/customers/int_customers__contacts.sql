{#- What makes a channel unreachable, in the order in which it is said. Ads need a hashed identifier, so a valid email or phone. -#}
{%- set addresses = {
    "email": ("addressed.email", "addressed.is_email_valid"),
    "sms": ("addressed.phone", "addressed.is_phone_valid"),
    "push": ("addressed.push_token", "true"),
    "ads": ("coalesce(addressed.email, addressed.phone)", "(addressed.is_email_valid or addressed.is_phone_valid)"),
} -%}

with addressed as (
    select * from {{ ref('int_customers__addressed') }}
),

consents as (
    select * from {{ ref('int_customers__consents_in_force') }}
),

refusals as (
    select * from {{ ref('int_customers__message_refusals') }}
),

suppressed as (
    select * from {{ ref('int_customers__suppressed') }}
),

reasoned as (
    select
        addressed.customer_id,
        addressed.email,
        addressed.phone,
        addressed.first_name,
        addressed.last_name,
        addressed.country,
        addressed.timezone,
        addressed.language,
        addressed.brand,
        addressed.created_at,
        addressed.extras,
        addressed.push_token,
        addressed.push_platform
        {%- for channel, (address, is_valid) in addresses.items() %},
        case
            when {{ address }} is null then 'no_address'
            when not {{ is_valid }} then 'invalid_address'
            when consents.{{ channel }}_consented_at is null and consents.{{ channel }}_withdrawn_at is not null then 'consent_withdrawn'
            when consents.{{ channel }}_consented_at is null then 'no_consent'
            {%- if channel != "ads" %}
            when refusals.{{ channel }}_unsubscribed_at >= consents.{{ channel }}_consented_at then 'unsubscribed'
            when refusals.{{ channel }}_complained_at >= consents.{{ channel }}_consented_at then 'complained'
            when refusals.{{ channel }}_is_bouncing then 'bounced'
            {%- endif %}
            when suppressed.{{ channel }}_is_suppressed then 'suppressed'
        end as {{ channel }}_unreachable_reason
        {% endfor %} -- noqa: LT02
    from addressed
    left join consents on addressed.customer_id = consents.customer_id
    left join refusals on addressed.customer_id = refusals.customer_id
    left join suppressed on addressed.customer_id = suppressed.customer_id
)

select
    *
    {%- for channel in addresses %},
    {{ channel }}_unreachable_reason is null as reachable_{{ channel }}
    {% endfor %} -- noqa: LT02
from reasoned
