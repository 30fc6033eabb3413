{%- set scan_ends_at = dbt.dateadd("second", var("scanner_seconds"), "arrivals.arrived_at") -%}

-- When the mailbox had the message: what the provider says, else its first click.
with arrivals as (
    select
        message_id,
        min(case when event_type = 'delivered' then occurred_at end) as delivered_at,
        coalesce(min(case when event_type = 'delivered' then occurred_at end), min(occurred_at)) as arrived_at
    from {{ ref('stg_ledger__delivery_events') }}
    where channel = 'email' and event_type in ('delivered', 'clicked') and message_id is not null
    group by message_id
),

-- A scanner follows the links of a message as soon as it has it; people read first, and follow one.
scanned as (
    select clicks.message_id
    from {{ ref('stg_ledger__delivery_events') }} as clicks
    inner join arrivals on clicks.message_id = arrivals.message_id
    where clicks.event_type = 'clicked' and clicks.channel = 'email' and clicks.occurred_at <= {{ scan_ends_at }}
    group by clicks.message_id
    having count(distinct clicks.link) >= {{ var("scanner_links_at_least") }}
),

of_unknown_messages as (
    select
        events.event_id,
        events.channel,
        events.address_hash,
        events.occurred_at,
        events.event_type = 'replied' and events.message_id is null as is_answer
    from {{ ref('stg_ledger__delivery_events') }} as events
    left join {{ ref('stg_ledger__messages') }} as messages on events.message_id = messages.message_id
    where messages.message_id is null and events.address_hash is not null
),

holders as (
    select
        events.event_id,
        addresses.customer_id
    from of_unknown_messages as events
    inner join {{ ref('int_customers__addresses') }} as addresses
        on events.channel = addresses.channel and events.address_hash = addresses.address_hash
),

-- A reply names no message: it answers the last one that was sent to its number.
answered as (
    select
        replies.event_id,
        messages.message_id,
        row_number() over (partition by replies.event_id order by outcomes.recorded_at desc, messages.message_id asc) as recency
    from of_unknown_messages as replies
    inner join holders on replies.event_id = holders.event_id
    inner join {{ ref('stg_ledger__messages') }} as messages
        on holders.customer_id = messages.customer_id and replies.channel = messages.channel
    inner join {{ ref('stg_ledger__outcomes') }} as outcomes
        on messages.message_id = outcomes.item_id and outcomes.recorded_at <= replies.occurred_at
    where replies.is_answer and outcomes.outcome = 'accepted'
),

told as (
    select
        events.event_id,
        coalesce(events.message_id, answered.message_id) as message_id,
        events.channel,
        events.event_type,
        events.occurred_at,
        events.is_machine,
        events.link,
        events.reason
    from {{ ref('stg_ledger__delivery_events') }} as events
    left join answered on events.event_id = answered.event_id and answered.recency = 1
)

select
    events.event_id,
    events.message_id,
    messages.enrolment_id,
    messages.program,
    messages.version,
    messages.step_no,
    coalesce(messages.customer_id, holders.customer_id) as customer_id,
    coalesce(messages.channel, events.channel) as channel,
    events.event_type,
    events.occurred_at,
    case
        when events.is_machine then true
        when events.channel <> 'email' or events.event_type not in ('opened', 'clicked') then false
        -- Gateways open and follow links before they let the message in.
        when events.occurred_at < arrivals.delivered_at then true
        else coalesce(scanned.message_id is not null and events.occurred_at <= {{ scan_ends_at }}, false)
    end as is_machine,
    events.link,
    events.reason
from told as events
left join {{ ref('stg_ledger__messages') }} as messages on events.message_id = messages.message_id
left join holders on events.event_id = holders.event_id and (messages.customer_id is null or messages.customer_id = holders.customer_id)
left join arrivals on events.message_id = arrivals.message_id
left join scanned on events.message_id = scanned.message_id
