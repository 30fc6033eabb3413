{%- set channels = ["email", "sms", "push"] -%}
{{ passed_on() }}

-- Named where they are read, not once above: an engine that computes a shared part once would copy all events for it.
with refusals as (
    select customer_id, channel, event_type, occurred_at
    from {{ touched_rows('int_engagement__answers') }}
    where event_type in ('bounced', 'complained', 'unsubscribed')
),

often_bounced as (
    select customer_id, channel
    from refusals
    where event_type = 'bounced'
    group by customer_id, channel
    having count(*) >= {{ var("bounces_in_a_row") }}
),

-- Whatever reached the address, machine or person, proves that it works; so does a consent given anew.
signs_of_delivery as (
    select events.customer_id, events.channel, events.occurred_at
    from {{ touched_rows('int_engagement__answers') }} as events
    inner join often_bounced
        on events.customer_id = often_bounced.customer_id and events.channel = often_bounced.channel
    where events.event_type in ('delivered', 'opened', 'clicked', 'replied')

    union all

    select consents.customer_id, consents.channel, consents.changed_at as occurred_at
    from {{ ref('stg_shop__consents') }} as consents
    inner join often_bounced
        on consents.customer_id = often_bounced.customer_id and consents.channel = often_bounced.channel
    where consents.granted
),

last_signs as (
    select customer_id, channel, max(occurred_at) as occurred_at
    from signs_of_delivery
    group by customer_id, channel
),

bounces_since as (
    select
        refusals.customer_id,
        refusals.channel,
        count(*) as bounces_in_a_row
    from refusals
    left join last_signs
        on refusals.customer_id = last_signs.customer_id and refusals.channel = last_signs.channel
    where
        refusals.event_type = 'bounced'
        and (last_signs.occurred_at is null or refusals.occurred_at > last_signs.occurred_at)
    group by refusals.customer_id, refusals.channel
),

facts as (
    select
        customer_id,
        channel,
        case when event_type = 'unsubscribed' then occurred_at end as unsubscribed_at,
        case when event_type = 'complained' then occurred_at end as complained_at,
        false as is_bouncing
    from refusals
    where event_type in ('complained', 'unsubscribed')

    union all

    select
        customer_id,
        channel,
        cast(null as timestamp) as unsubscribed_at,
        cast(null as timestamp) as complained_at,
        true as is_bouncing
    from bounces_since
    where bounces_in_a_row >= {{ var("bounces_in_a_row") }}
)

select
    customer_id
    {%- for channel in channels %},
    max(case when channel = '{{ channel }}' then unsubscribed_at end) as {{ channel }}_unsubscribed_at,
    max(case when channel = '{{ channel }}' then complained_at end) as {{ channel }}_complained_at,
    {{ dbt.bool_or("channel = '" ~ channel ~ "' and is_bouncing") }} as {{ channel }}_is_bouncing
    {% endfor %} -- noqa: LT02
from facts
group by customer_id
