with due as (
    select distinct
        customer_id,
        channel
    from {{ ref('int_journeys__steps_due') }}
    where kind = 'send' and arm = 'treatment' and skip_reason is null and is_live
),

caps as (
    select
        due.customer_id,
        due.channel,
        policies.max_messages,
        policies.window_days
    from due
    inner join {{ ref('stg_programs__sending_policies') }} as policies on due.channel = policies.channel
    where policies.max_messages is not null

    union all

    select
        due.customer_id,
        due.channel,
        limits.max_messages,
        limits.window_days
    from due
    inner join {{ ref('stg_ledger__frequency_limits') }} as limits
        on due.customer_id = limits.customer_id and due.channel = limits.channel
    where limits.is_in_force
),

numbered_caps as (
    select
        *,
        row_number() over (
            partition by customer_id, channel
            order by max_messages, window_days
        ) as cap_no
    from caps
),

-- An instant, so that engines need not read the events before it.
longest_window as (
    select cast({{ days_after(as_of_date(), "1 - coalesce(max(window_days), 0)") }} as timestamp) as begins_at from caps
),

-- What left, may have left, or may leave yet; only a refusal or a skipped message is sure not to have reached anyone.
contacts as (
    select
        due.customer_id,
        due.channel,
        messages.message_id as contact_id,
        case
            when outcomes.outcome in ('accepted', 'unknown') then cast(outcomes.answered_at as date)
            else {{ as_of_date() }}
        end as contacted_on
    from due
    inner join {{ ref('stg_ledger__messages') }} as messages
        on due.customer_id = messages.customer_id and due.channel = messages.channel
    left join {{ ref('stg_ledger__outcomes') }} as outcomes on messages.message_id = outcomes.item_id
    where messages.kind = 'send' and coalesce(outcomes.outcome, 'queued') not in ('rejected', 'skipped')

    union all

    -- Sends of other systems. Our own are counted from the ledger.
    select
        due.customer_id,
        due.channel,
        events.event_id as contact_id,
        cast(events.occurred_at as date) as contacted_on
    from due
    inner join {{ ref('int_engagement__message_events_resolved') }} as events
        on due.customer_id = events.customer_id and due.channel = events.channel
    cross join longest_window
    left join {{ ref('stg_programs__in_force') }} as programs on events.campaign = programs.program
    where
        events.event_type = 'sent'
        and programs.program is null
        and events.occurred_at >= longest_window.begins_at
),

left_of_caps as (
    select
        caps.customer_id,
        caps.channel,
        caps.cap_no,
        min(caps.max_messages) - count(distinct contacts.contact_id) as messages_left
    from numbered_caps as caps
    left join contacts
        on
            caps.customer_id = contacts.customer_id
            and caps.channel = contacts.channel
            and {{ days_between('contacts.contacted_on', as_of_date()) }} < caps.window_days
    group by caps.customer_id, caps.channel, caps.cap_no
)

select
    customer_id,
    channel,
    min(messages_left) as messages_left
from left_of_caps
group by customer_id, channel
