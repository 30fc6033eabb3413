{{ config(materialized='view') }}

with candidates as (
    select * from {{ ref('int_journeys__candidates') }}
),

programs as (
    select
        programs.*,
        channels.uses_email,
        channels.uses_sms,
        channels.uses_push,
        channels.uses_ads,
        channels.needs_no_channel
    from {{ ref('stg_programs__in_force') }} as programs
    inner join {{ ref('int_journeys__channels_used') }} as channels
        on programs.program = channels.program and programs.version = channels.version
),

-- Rests that begin today hold today: nobody is taken in on the day on which a program sends them to rest.
suppressions as (
    select
        customer_id,
        reason,
        ends_at
    from {{ ref('stg_ledger__suppressions') }}
    where channel = 'all' and customer_id is not null

    union all

    select
        customer_id,
        value as reason,
        ends_at
    from {{ ref('int_journeys__followups_due') }}
    where action = 'suppress'
),

longest_suppressions as (
    select
        customer_id,
        reason,
        ends_at,
        row_number() over (
            partition by customer_id
            order by case when ends_at is null then 0 else 1 end asc, ends_at desc nulls last, reason asc nulls last
        ) as position
    from suppressions
),

open_journeys as (
    select
        customer_id,
        enrolment_id,
        program,
        program_group
    from {{ ref('int_journeys__enrolments_resolved') }}
    where status = 'open'
),

-- By program and by group, because a program may have changed its group since.
occupied as (
    select
        programs.program,
        open_journeys.customer_id,
        min(open_journeys.program) as open_program
    from programs
    inner join open_journeys
        on programs.program = open_journeys.program or programs.program_group = open_journeys.program_group
    where programs.is_live
    group by programs.program, open_journeys.customer_id
),

entries as (
    select
        program,
        customer_id,
        count(*) as entries,
        max(anchor_at) as last_anchor_at,
        max(enrolled_at) as last_entered_at,
        -- A purchase from before entry, known since, had ended the lapse that was entered: the next may have begun with it.
        max(case when purchased_at <= enrolled_at then anchor_at else enrolled_at end) as lapsing_until
    from {{ ref('int_journeys__enrolments_resolved') }}
    group by program, customer_id
),

-- What is known of a customer is put together once for all programs, and each program's rules are joined last: the many rows between are narrow.
facts as (
    select
        customers.customer_id,
        customers.days_since_last_order,
        customers.days_since_last_engagement,
        customers.reachable_email,
        customers.reachable_sms,
        customers.reachable_push,
        customers.reachable_ads,
        customers.lifetime_value,
        duplicates.duplicate_of
    from {{ ref('customers') }} as customers
    left join {{ ref('int_customers__contact_duplicates') }} as duplicates on customers.customer_id = duplicates.customer_id
),

of_customers as (
    select
        candidates.program,
        candidates.customer_id,
        candidates.anchor_at,
        candidates.audience_reason,
        candidates.lapse_days,
        facts.days_since_last_order,
        facts.days_since_last_engagement,
        facts.reachable_email,
        facts.reachable_sms,
        facts.reachable_push,
        facts.reachable_ads,
        facts.lifetime_value,
        facts.duplicate_of
    from candidates
    left join facts on candidates.customer_id = facts.customer_id
),

of_ledger as (
    select
        of_customers.*,
        suppressions.customer_id as suppressed_customer_id,
        suppressions.reason as suppression_reason,
        suppressions.ends_at as suppressed_until,
        occupied.open_program,
        coalesce(entries.entries, 0) as entries,
        entries.last_anchor_at,
        entries.last_entered_at,
        entries.lapsing_until,
        {{ days_from('entries.last_entered_at', as_of_date()) }} as days_since_last_entry
    from of_customers
    left join longest_suppressions as suppressions
        on of_customers.customer_id = suppressions.customer_id and suppressions.position = 1
    left join occupied on of_customers.program = occupied.program and of_customers.customer_id = occupied.customer_id
    left join entries on of_customers.program = entries.program and of_customers.customer_id = entries.customer_id
),

valued as (
    select
        of_ledger.*,
        programs.version,
        programs.group_no,
        programs.turn,
        programs.exclude_purchased_within_days,
        programs.exclude_engaged_within_days,
        programs.reentry_after_days,
        programs.max_entries as max_entries_allowed,
        programs.max_per_day,
        programs.cadence,
        programs.weekday,
        programs.needs_no_channel,
        coalesce(programs.uses_email and of_ledger.reachable_email, false) as reached_by_email,
        coalesce(programs.uses_sms and of_ledger.reachable_sms, false) as reached_by_sms,
        coalesce(programs.uses_push and of_ledger.reachable_push, false) as reached_by_push,
        coalesce(programs.uses_ads and of_ledger.reachable_ads, false) as reached_by_ads
    from of_ledger
    inner join programs on of_ledger.program = programs.program
),

gated as (
    select
        *,
        suppressed_customer_id is not null as suppressed,
        duplicate_of is not null as duplicate_contact,
        coalesce(days_since_last_order < exclude_purchased_within_days, false) as purchased_recently,
        coalesce(days_since_last_engagement < exclude_engaged_within_days, false) as engaged_recently,
        open_program is not null as already_enrolled,
        -- A lapse that began before the last entry is the one that was entered, even where corrected rows have moved its beginning: a new
        -- lapse needs new activity first.
        coalesce(anchor_at <= last_anchor_at or anchor_at <= lapsing_until, false) as same_episode,
        coalesce(days_since_last_entry < reentry_after_days, false) as reentry_wait,
        coalesce(entries >= max_entries_allowed, false) as max_entries,
        (needs_no_channel or reached_by_email or reached_by_sms or reached_by_push or reached_by_ads) is not true as unreachable,
        ({{ is_entry_day('cadence', 'weekday') }}) is not true as not_entry_day
    from valued
)

select
    *,
    {{ first_failing_gate(left_out=['higher_priority_program', 'daily_cap']) }} as kept_out_by
from gated
