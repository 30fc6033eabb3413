{#- What may happen to a message once it has left, in the words of the ledger; opens, reads, clicks and replies by people only. -#}
{%- set told = {
    "delivered": "event_type = 'delivered'",
    "bounced": "event_type = 'bounced'",
    "soft_bounced": "event_type = 'soft_bounced'",
    "dropped": "event_type in ('dropped', 'failed')",
    "complained": "event_type = 'complained'",
    "unsubscribed": "event_type = 'unsubscribed'",
    "opened": "event_type in ('opened', 'read') and not is_machine",
    "opened_by_machines_only": "event_type in ('opened', 'read') and is_machine",
    "clicked": "event_type = 'clicked' and not is_machine",
    "replied": "event_type = 'replied' and not is_machine",
} -%}

with messages as (
    select * from {{ ref('stg_ledger__messages') }}
    where kind = 'send'
),

sent as (
    select
        messages.message_id,
        messages.program,
        messages.channel,
        messages.customer_id,
        cast(outcomes.answered_at as date) as sent_on
    from messages
    inner join {{ ref('stg_ledger__outcomes') }} as outcomes on messages.message_id = outcomes.item_id
    where outcomes.outcome = 'accepted'
),

mailboxes as (
    select
        customer_id,
        substring(email, {{ dbt.position("'@'", "email") }} + 1) as domain
    from {{ ref('int_customers__contacts') }}
    where email like '%@%'
),

-- A domain that few people have may say who they are.
common_domains as (
    select domain
    from mailboxes
    group by domain
    having count(*) >= {{ var("domain_recipients_at_least") }}
),

told as (
    select
        message_id
        {%- for name, condition in told.items() %},
        max(case when {{ condition }} then 1 else 0 end) as {{ name }}
        {% endfor %} -- noqa: LT02
    from {{ ref('int_engagement__delivery_events_judged') }}
    where message_id is not null
    group by message_id
),

placed as (
    select
        sent.sent_on,
        sent.program,
        sent.channel,
        case when sent.channel <> 'email' then 'none' else coalesce(common_domains.domain, 'other') end as domain
        {%- for name in told if name != "opened_by_machines_only" %},
        coalesce(told.{{ name }}, 0) as {{ name }}
        {%- endfor %},
        case when told.opened = 0 then told.opened_by_machines_only else 0 end as opened_by_machines_only
    from sent
    left join mailboxes on sent.customer_id = mailboxes.customer_id
    left join common_domains on mailboxes.domain = common_domains.domain
    left join told on sent.message_id = told.message_id
),

counted as (
    select
        sent_on,
        program,
        channel,
        domain,
        cast(count(*) as bigint) as sent,
        cast(sum(1 - bounced) as bigint) as reached
        {%- for name in told %},
        cast(sum({{ name }}) as bigint) as {{ name }}
        {% endfor %} -- noqa: LT02
    from placed
    group by sent_on, program, channel, domain
)

select
    {{ as_of() }} as as_of,
    sent_on,
    program,
    channel,
    domain,
    sent,
    reached
    {%- for name in told %},
    {{ name }}
    {%- endfor %},
    100 * cast(bounced as {{ type_double() }}) / sent as bounced_percentage,
    100 * cast(complained as {{ type_double() }}) / nullif(reached, 0) as complained_percentage,
    100 * cast(unsubscribed as {{ type_double() }}) / nullif(reached, 0) as unsubscribed_percentage,
    cast({{ var("email_complaint_warning_percentage") }} as {{ type_double() }}) as complaint_warning_percentage,
    cast({{ var("email_complaint_limit_percentage") }} as {{ type_double() }}) as complaint_limit_percentage
from counted
