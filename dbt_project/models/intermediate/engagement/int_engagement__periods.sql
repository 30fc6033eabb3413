{#- A period is as wide as the first tier: a gap that ends the tier can then never lie within one period, so first and last day are enough. -#}
{%- set width = var("tier_at_risk_from_days") -%}
{{ passed_on() }}

with events as (
    select
        customer_id,
        cast(occurred_at as date) as occurred_on,
        case when event_type = 'opened' then occurred_at end as opened_at,
        case when event_type = 'clicked' then occurred_at end as clicked_at,
        case when event_type = 'replied' then occurred_at end as replied_at,
        case when channel = 'email' then occurred_at end as email_engaged_at,
        cast(null as timestamp) as visited_at,
        cast(null as timestamp) as used_at
    from {{ touched_rows('int_engagement__answers') }}
    where event_type in ('opened', 'clicked', 'replied') and not is_machine

    union all

    select
        customer_id,
        cast(occurred_at as date) as occurred_on,
        cast(null as timestamp) as opened_at,
        cast(null as timestamp) as clicked_at,
        cast(null as timestamp) as replied_at,
        cast(null as timestamp) as email_engaged_at,
        case when event_type = 'visit' then occurred_at end as visited_at,
        case when event_type in ('login', 'action') then occurred_at end as used_at
    from {{ ref('stg_shop__activity_events') }}
    where event_type in ('visit', 'login', 'action') and customer_id is not null and {{ of_touched() }}
),

numbered as (
    select
        *,
        {{ period_number("occurred_on", width) }} as period_no
    from events
)

select
    customer_id,
    period_no,
    min(occurred_on) as first_on,
    max(occurred_on) as last_on,
    max(opened_at) as last_opened_at,
    max(clicked_at) as last_clicked_at,
    max(replied_at) as last_replied_at,
    max(email_engaged_at) as last_email_engaged_at,
    max(visited_at) as last_visited_at,
    max(used_at) as last_used_at
from numbered
group by customer_id, period_no
