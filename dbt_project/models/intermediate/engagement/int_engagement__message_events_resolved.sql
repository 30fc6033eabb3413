{{ config(materialized='view') }}

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
