with enrolments as (
    select * from {{ ref('int_journeys__enrolments_progressed') }}
),

orders_since_anchor as (
    select
        enrolments.enrolment_id,
        enrolments.anchor_at,
        enrolments.enrolled_at,
        enrolments.exclude_purchased_within_days,
        orders.ordered_at,
        min(orders.ordered_at) over (partition by enrolments.enrolment_id) = enrolments.anchor_at as lapse_began_with_order
    from enrolments
    inner join {{ ref('int_orders__purchases') }} as orders on enrolments.customer_id = orders.customer_id
    where enrolments.exit_on_purchase and orders.ordered_at >= enrolments.anchor_at
),

-- An order from before entry that arrived late counts if, had it been known, it would have kept the customer out: by the program's guard, or
-- because a lapse that began with an order would have begun anew with this one. winback/delivery has the same rule (queue.py, regret.py).
purchases as (
    select
        enrolment_id,
        greatest(min(ordered_at), min(enrolled_at)) as purchased_at
    from orders_since_anchor
    where
        ordered_at > anchor_at
        and (
            ordered_at >= enrolled_at
            or lapse_began_with_order
            or {{ days_from('ordered_at', 'enrolled_at') }} < exclude_purchased_within_days
        )
    group by enrolment_id
),

engaged_enrolments as (
    select
        enrolment_id,
        customer_id,
        enrolled_at
    from enrolments
    where exit_on_engagement
),

engagements as (
    select
        engaged_enrolments.enrolment_id,
        events.occurred_at
    from engaged_enrolments
    inner join {{ ref('int_engagement__message_events_resolved') }} as events on engaged_enrolments.customer_id = events.customer_id
    where
        events.event_type in ('opened', 'clicked', 'replied')
        and not events.is_machine
        and events.occurred_at >= engaged_enrolments.enrolled_at

    union all

    select
        engaged_enrolments.enrolment_id,
        events.occurred_at
    from engaged_enrolments
    inner join {{ ref('stg_shop__activity_events') }} as events on engaged_enrolments.customer_id = events.customer_id
    where
        events.event_type in ('visit', 'login', 'action')
        and events.occurred_at >= engaged_enrolments.enrolled_at
),

first_engagements as (
    select
        enrolment_id,
        min(occurred_at) as engaged_at
    from engagements
    group by enrolment_id
),

-- Consents of the channels that each journey uses: what held at entry, and every change since.
consent_changes as (
    select
        enrolments.enrolment_id,
        enrolments.enrolled_at,
        consents.channel,
        consents.changed_at,
        case when consents.granted then 1 else 0 end as granted,
        lag(case when consents.granted then 1 else 0 end) over (
            partition by enrolments.enrolment_id, consents.channel
            order by consents.changed_at
        ) as granted_before
    from enrolments
    inner join {{ ref('int_journeys__channels_used') }} as channels
        on enrolments.program = channels.program and enrolments.version = channels.version
    inner join {{ ref('stg_shop__consents') }} as consents on enrolments.customer_id = consents.customer_id
    where
        (channels.uses_email and consents.channel = 'email')
        or (channels.uses_sms and consents.channel = 'sms')
        or (channels.uses_push and consents.channel = 'push')
        or (channels.uses_ads and consents.channel = 'ads')
),

consents_left as (
    select
        enrolment_id,
        enrolled_at,
        changed_at,
        -- Two changes at one instant are one: the sum runs over whole instants.
        sum(granted - coalesce(granted_before, 0)) over (
            partition by enrolment_id
            order by changed_at
            range between unbounded preceding and current row
        ) as channels_left
    from consent_changes
),

consents_lost as (
    select
        enrolment_id,
        min(changed_at) as consent_lost_at
    from consents_left
    where channels_left = 0 and changed_at >= enrolled_at
    group by enrolment_id
),

lifted as (
    select suppression_id from {{ ref('stg_ledger__suppression_events') }}
    where operation = 'lift'
),

-- Customer-wide suppressions that began, or became known, after entry. They end the journey even if they have ended since.
suppressions as (
    select
        enrolments.enrolment_id,
        min(greatest(events.starts_at, enrolments.enrolled_at)) as suppressed_at
    from enrolments
    inner join {{ ref('stg_ledger__suppression_events') }} as events on enrolments.customer_id = events.customer_id
    left join lifted on events.suppression_id = lifted.suppression_id
    where
        events.operation = 'add'
        and events.channel = 'all'
        and lifted.suppression_id is null
        and (events.recorded_at >= enrolments.enrolled_at or events.starts_at > enrolments.enrolled_at)
        and events.starts_at <= {{ as_of() }}
        and (events.ends_at is null or events.ends_at > enrolments.enrolled_at)
    group by enrolments.enrolment_id
),

unreachable as (
    select
        enrolments.enrolment_id,
        enrolments.customer_id,
        enrolments.enrolled_at,
        channels.uses_email,
        channels.uses_sms,
        channels.uses_push,
        channels.uses_ads
    from enrolments
    inner join {{ ref('int_journeys__channels_used') }} as channels
        on enrolments.program = channels.program and enrolments.version = channels.version
    left join {{ ref('customers') }} as customers on enrolments.customer_id = customers.customer_id
    where
        not channels.needs_no_channel
        and not coalesce(
            (channels.uses_email and customers.reachable_email)
            or (channels.uses_sms and customers.reachable_sms)
            or (channels.uses_push and customers.reachable_push)
            or (channels.uses_ads and customers.reachable_ads),
            false
        )
),

channels_refused as (
    select
        customer_id,
        channel,
        changed_at as refused_at
    from {{ ref('stg_shop__consents') }}
    where not granted

    union all

    select
        customer_id,
        channel,
        occurred_at as refused_at
    from {{ ref('int_engagement__message_events_resolved') }}
    where event_type in ('unsubscribed', 'complained')

    union all

    select
        customer_id,
        channel,
        starts_at as refused_at
    from {{ ref('stg_ledger__suppressions') }}
    where customer_id is not null

    union all

    select
        addresses.customer_id,
        addresses.channel,
        suppressions.starts_at as refused_at
    from {{ ref('stg_ledger__suppressions') }} as suppressions
    inner join {{ ref('int_customers__addresses') }} as addresses on suppressions.address_hash = addresses.address_hash
    where suppressions.channel in ('all', addresses.channel)
),

-- The last channel of those whom none reaches was lost with the last refusal; what made an address useless otherwise has no date.
refusals as (
    select
        unreachable.enrolment_id,
        max(channels_refused.refused_at) as refused_at
    from unreachable
    inner join channels_refused on unreachable.customer_id = channels_refused.customer_id
    where
        channels_refused.refused_at >= unreachable.enrolled_at
        and (
            (unreachable.uses_email and channels_refused.channel = 'email')
            or (unreachable.uses_sms and channels_refused.channel = 'sms')
            or (unreachable.uses_push and channels_refused.channel = 'push')
            or (unreachable.uses_ads and channels_refused.channel = 'ads')
        )
    group by unreachable.enrolment_id
),

stopped as (
    select
        enrolments.enrolment_id,
        min(statuses.effective_at) as stopped_at
    from enrolments
    inner join {{ ref('stg_programs__statuses') }} as statuses on enrolments.program = statuses.program
    where statuses.status = 'retired' and statuses.effective_at > enrolments.enrolled_at
    group by enrolments.enrolment_id
),

-- A later entry into the same program or group proves that this journey had ended by then, even where a corrected order now says otherwise:
-- a customer is never in two journeys of a group.
entered_later as (
    select
        enrolment_id,
        lead(enrolled_at) over (partition by customer_id, program_group order by enrolled_at, enrolment_id) as in_group_at,
        lead(enrolled_at) over (partition by customer_id, program order by enrolled_at, enrolment_id) as in_program_at
    from enrolments
),

superseded as (
    select
        enrolment_id,
        {{ least_known(["in_group_at", "in_program_at"]) }} as superseded_at
    from entered_later
)

select
    enrolments.enrolment_id,
    purchases.purchased_at,
    first_engagements.engaged_at,
    case
        when consents_lost.consent_lost_at is null and suppressions.suppressed_at is null and unreachable.enrolment_id is not null
            then coalesce(refusals.refused_at, {{ as_of() }})
        else {{ least_known(["consents_lost.consent_lost_at", "suppressions.suppressed_at"]) }}
    end as consent_lost_at,
    stopped.stopped_at,
    superseded.superseded_at,
    case when enrolments.completes_on <= {{ as_of_date() }} then cast(enrolments.completes_on as timestamp) end as completed_at
from enrolments
left join purchases on enrolments.enrolment_id = purchases.enrolment_id
left join first_engagements on enrolments.enrolment_id = first_engagements.enrolment_id
left join consents_lost on enrolments.enrolment_id = consents_lost.enrolment_id
left join suppressions on enrolments.enrolment_id = suppressions.enrolment_id
left join unreachable on enrolments.enrolment_id = unreachable.enrolment_id
left join refusals on enrolments.enrolment_id = refusals.enrolment_id
left join stopped on enrolments.enrolment_id = stopped.enrolment_id
left join superseded on enrolments.enrolment_id = superseded.enrolment_id
