with journeys as (
    select
        enrolments.*,
        coalesce(customers.last_active_at >= enrolments.completed_at, false) as came_back
    from {{ ref('int_journeys__enrolments_resolved') }} as enrolments
    left join {{ ref('customers') }} as customers on enrolments.customer_id = customers.customer_id
),

tags as (
    select * from {{ ref('stg_ledger__tags') }}
),

limits as (
    select * from {{ ref('stg_ledger__frequency_limits') }}
),

suppressions as (
    select * from {{ ref('stg_ledger__suppression_events') }}
),

wanted as (
    select
        {{ derived_id(['enrolment_id', "'tag'"]) }} as followup_id,
        *
    from journeys
    where status = 'completed' and complete_tag is not null and not came_back
),

tags_due as (
    select
        wanted.followup_id,
        wanted.enrolment_id,
        'tag' as action,
        wanted.complete_tag as value,
        cast(null as {{ type_text() }}) as channel,
        cast(null as integer) as max_messages,
        cast(null as integer) as window_days,
        cast(null as timestamp) as ends_at
    from wanted
    left join tags on wanted.followup_id = tags.tag_id
    where tags.tag_id is null
),

rests_wanted as (
    select
        {{ derived_id(['enrolment_id', "'suppress'"]) }} as followup_id,
        cast({{ days_after('cast(completed_at as date)', 'complete_suppress_days') }} as timestamp) as ends_at,
        enrolment_id,
        program
    from journeys
    where status = 'completed' and complete_suppress_days is not null and not came_back
),

rests_due as (
    select
        rests_wanted.followup_id,
        rests_wanted.enrolment_id,
        'suppress' as action,
        rests_wanted.program as value,
        'all' as channel,
        cast(null as integer) as max_messages,
        cast(null as integer) as window_days,
        rests_wanted.ends_at
    from rests_wanted
    left join suppressions on rests_wanted.followup_id = suppressions.suppression_id
    where suppressions.suppression_id is null and rests_wanted.ends_at > {{ as_of() }}
),

limits_wanted as (
    select
        {{ derived_id(['enrolment_id', "'lower_frequency'"]) }} as followup_id,
        *
    from journeys
    where status = 'completed' and complete_limit_channel is not null and not came_back
),

limits_due as (
    select
        limits_wanted.followup_id,
        limits_wanted.enrolment_id,
        'lower_frequency' as action,
        limits_wanted.program as value,
        limits_wanted.complete_limit_channel as channel,
        limits_wanted.complete_limit_messages as max_messages,
        limits_wanted.complete_limit_days as window_days,
        cast(null as timestamp) as ends_at
    from limits_wanted
    left join limits on limits_wanted.followup_id = limits.limit_id
    where limits.limit_id is null
),

tags_removed as (
    select tag_id from tags
    where operation = 'remove'
),

tags_outlived as (
    select
        tags.tag_id as followup_id,
        tags.enrolment_id,
        'untag' as action,
        tags.tag as value,
        cast(null as {{ type_text() }}) as channel,
        cast(null as integer) as max_messages,
        cast(null as integer) as window_days,
        cast(null as timestamp) as ends_at
    from tags
    inner join journeys on tags.enrolment_id = journeys.enrolment_id
    left join tags_removed on tags.tag_id = tags_removed.tag_id
    where
        tags.operation = 'add'
        and tags_removed.tag_id is null
        -- An event that arrived late may show that the journey had ended otherwise.
        and (journeys.came_back or journeys.status <> 'completed')
),

limits_outlived as (
    select
        limits.limit_id as followup_id,
        limits.enrolment_id,
        'restore_frequency' as action,
        journeys.program as value,
        limits.channel,
        limits.max_messages,
        limits.window_days,
        cast(null as timestamp) as ends_at
    from limits
    inner join journeys on limits.enrolment_id = journeys.enrolment_id
    where limits.is_in_force and (journeys.came_back or journeys.status <> 'completed')
),

due as (
    select * from tags_due
    union all
    select * from rests_due
    union all
    select * from limits_due
    union all
    select * from tags_outlived
    union all
    select * from limits_outlived
)

select
    due.followup_id,
    due.enrolment_id,
    journeys.program,
    journeys.customer_id,
    due.action,
    due.value,
    due.channel,
    due.max_messages,
    due.window_days,
    due.ends_at
from due
inner join journeys on due.enrolment_id = journeys.enrolment_id
