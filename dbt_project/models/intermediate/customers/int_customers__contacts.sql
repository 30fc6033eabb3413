{#- Suppressions begin and end with the clock, and with news of others at the same address: they are looked up, not kept. -#}
{{ config(materialized='view') }}

select
    profiles.customer_id,
    profiles.email,
    profiles.phone,
    profiles.first_name,
    profiles.last_name,
    profiles.country,
    profiles.timezone,
    profiles.language,
    profiles.brand,
    profiles.created_at,
    profiles.extras,
    profiles.push_token,
    profiles.push_platform
    {%- for channel in contact_channels() %},
    {{ unreachable_reason(channel) }} as {{ channel }}_unreachable_reason,
    {{ unreachable_reason(channel) }} is null as reachable_{{ channel }}
    {% endfor %} -- noqa: LT02
from {{ ref('int_customers__profiled') }} as profiles
left join {{ ref('int_customers__suppressed') }} as suppressed on profiles.customer_id = suppressed.customer_id
