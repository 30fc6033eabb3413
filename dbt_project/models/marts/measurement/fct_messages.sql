with messages as (
    select
        messages.*,
        outcomes.outcome,
        outcomes.recorded_at as answered_at
    from {{ ref('stg_ledger__messages') }} as messages
    left join {{ ref('stg_ledger__outcomes') }} as outcomes on messages.message_id = outcomes.item_id
),

-- What another system reports of our programs' messages names the program and the customer: it is about the last message before it.
reported as (
    select
        events.event_type,
        events.occurred_at,
        events.is_machine,
        messages.message_id,
        row_number() over (
            partition by events.event_id, events.customer_id
            order by messages.answered_at desc, messages.message_id asc
        ) as newest
    from {{ ref('int_engagement__message_events_resolved') }} as events
    inner join messages
        on
            events.campaign = messages.program
            and events.customer_id = messages.customer_id
            and events.channel = messages.channel
            and events.occurred_at >= messages.answered_at
    left join {{ ref('int_engagement__delivery_events_judged') }} as told on events.event_id = told.event_id
    where messages.outcome in ('accepted', 'unknown') and told.event_id is null
),

returned as (
    select
        message_id,
        event_type,
        occurred_at,
        is_machine
    from {{ ref('int_engagement__delivery_events_judged') }}
    where message_id is not null

    union all

    select
        message_id,
        event_type,
        occurred_at,
        is_machine
    from reported
    where newest = 1
),

events as (
    select
        message_id,
        min(occurred_at) as first_heard_at,
        min(case when event_type = 'delivered' then occurred_at end) as delivered_at,
        min(case when event_type in ('opened', 'read', 'clicked', 'replied') then occurred_at end) as shown_at,
        min(case when event_type in ('opened', 'read', 'clicked', 'replied') and not is_machine then occurred_at end) as read_at,
        min(case when event_type = 'clicked' and not is_machine then occurred_at end) as clicked_at,
        min(case when event_type = 'replied' then occurred_at end) as replied_at,
        min(case when event_type in ('bounced', 'dropped', 'failed') then occurred_at end) as bounced_at,
        min(case when event_type = 'unsubscribed' then occurred_at end) as unsubscribed_at,
        min(case when event_type = 'complained' then occurred_at end) as complained_at,
        count(case when event_type in ('opened', 'read') and not is_machine then 1 end) as read_times,
        count(case when event_type in ('opened', 'read') and is_machine then 1 end) as machine_read_times,
        count(case when event_type = 'clicked' and not is_machine then 1 end) as click_times,
        count(case when event_type = 'clicked' and is_machine then 1 end) as machine_click_times,
        count(case when event_type = 'replied' then 1 end) as reply_times
    from returned
    group by message_id
),

answered as (
    select
        messages.*,
        coalesce(messages.outcome, 'waiting') as latest_outcome,
        -- An answer that was lost is no message that was lost: what came back for it proves that it went.
        {{ least_known(["case when messages.outcome = 'accepted' then messages.answered_at end", "events.first_heard_at"]) }} as sent_at,
        coalesce(events.delivered_at, case when events.bounced_at is null then events.shown_at end) as delivered_at,
        events.read_at,
        events.clicked_at,
        events.replied_at,
        events.bounced_at,
        events.unsubscribed_at,
        events.complained_at,
        coalesce(events.read_times, 0) as read_times,
        coalesce(events.machine_read_times, 0) as machine_read_times,
        coalesce(events.click_times, 0) as click_times,
        coalesce(events.machine_click_times, 0) as machine_click_times,
        coalesce(events.reply_times, 0) as reply_times
    from messages
    left join events on messages.message_id = events.message_id
)

select
    answered.message_id,
    answered.enrolment_id,
    answered.program || '|' || cast(answered.version as {{ type_text() }}) as program_version_id,
    answered.program,
    answered.version,
    answered.step_no,
    answered.customer_id,
    {{ or_none('customers.brand') }} as brand,
    answered.kind,
    answered.channel,
    answered.content,
    answered.offer_code,
    cast(answered.as_of as date) as planned_on,
    answered.latest_outcome as outcome,
    answered.sent_at,
    cast(answered.sent_at as date) as sent_on,
    answered.kind = 'send' and answered.sent_at is not null and answered.bounced_at is null as is_touch,
    answered.delivered_at,
    answered.read_at,
    answered.clicked_at,
    answered.replied_at,
    answered.bounced_at,
    answered.unsubscribed_at,
    answered.complained_at,
    answered.read_times,
    answered.machine_read_times,
    answered.click_times,
    answered.machine_click_times,
    answered.reply_times,
    cast(
        case when answered.sent_at is not null then coalesce(own_costs.amount, costs.amount, 0) else 0 end as {{ type_money() }}
    ) as cost
from answered
left join {{ ref('customers') }} as customers on answered.customer_id = customers.customer_id
left join {{ ref('costs') }} as own_costs on answered.program = own_costs.program and answered.channel = own_costs.item
left join {{ ref('costs') }} as costs on answered.channel = costs.item and costs.program = '*'
