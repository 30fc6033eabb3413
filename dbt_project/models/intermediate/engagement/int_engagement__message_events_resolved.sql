{{ config(materialized='view') }}

with raw_events as (
    select
        event_id,
        customer_id,
        channel,
        event_type,
        occurred_at,
        campaign,
        is_machine
    from {{ ref('stg_shop__message_events') }}
    where customer_id is not null

    union all

    select
        event_id,
        customer_id,
        channel,
        event_type,
        occurred_at,
        campaign,
        is_machine
    from {{ ref('int_engagement__message_events_addressed') }}
)

select
    raw_events.event_id,
    raw_events.customer_id,
    raw_events.channel,
    raw_events.event_type,
    raw_events.occurred_at,
    raw_events.campaign,
    raw_events.is_machine
from raw_events
-- What we were told ourselves holds, above all about machines; another system's report of our message fills the days without.
left join {{ ref('int_engagement__days_told') }} as told
    on
        raw_events.campaign = told.program
        and raw_events.customer_id = told.customer_id
        and raw_events.channel = told.channel
        and raw_events.event_type = told.event_type
        and cast(raw_events.occurred_at as date) = told.occurred_on
where told.program is null

union all

select
    event_id,
    customer_id,
    channel,
    {{ message_event_type("event_type") }} as event_type,
    occurred_at,
    program as campaign,
    is_machine
from {{ ref('int_engagement__delivery_events_judged') }}
where customer_id is not null and {{ message_event_type("event_type") }} is not null
