with due as (
    select * from {{ ref('int_journeys__steps_due') }}
),

sends as (
    select
        enrolment_id,
        step_no,
        row_number() over (
            partition by customer_id, channel
            order by priority desc, program asc, enrolment_id asc
        ) as turn
    from due
    where kind = 'send' and arm = 'treatment' and skip_reason is null and is_live and not is_email_paused
),

policies as (
    select
        channel,
        patience_days
    from {{ ref('stg_programs__sending_policies') }}
),

weighed as (
    select
        due.*,
        coalesce(policies.patience_days, {{ var('default_patience_days') }}) as patience_days,
        coalesce(sends.turn > messages_left.messages_left, false) as is_capped
    from due
    left join sends on due.enrolment_id = sends.enrolment_id and due.step_no = sends.step_no
    left join {{ ref('int_journeys__messages_left') }} as messages_left
        on due.customer_id = messages_left.customer_id and due.channel = messages_left.channel
    left join policies on due.channel = policies.channel
),

decided as (
    select
        *,
        case
            when not is_live then 'defer'
            when skip_reason is not null then 'skip'
            when is_email_paused then 'defer'
            when arm = 'holdout' then 'withhold'
            when is_capped and {{ days_after('due_on', 'patience_days') }} > {{ as_of_date() }} then 'defer'
            when is_capped then 'skip'
            else kind
        end as decision
    from weighed
)

select
    {{ as_of() }} as as_of,
    {{ derived_id(['enrolment_id', 'step_no']) }} as step_id,
    case
        when decision in ('send', 'task') then {{ derived_id(['enrolment_id', 'step_no', 'channel']) }}
    end as message_id,
    enrolment_id,
    program,
    version,
    customer_id,
    arm,
    step_no,
    kind,
    content,
    channel,
    due_on,
    decision,
    case
        when not is_live then 'paused'
        when skip_reason is not null then skip_reason
        when is_email_paused then 'email_paused'
        when decision in ('defer', 'skip') then 'capped'
    end as reason,
    case when decision in ('send', 'task') then {{ days_after(as_of_date(), 'patience_days') }} end as expires_on
from decided
