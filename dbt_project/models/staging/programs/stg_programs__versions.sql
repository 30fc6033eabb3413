with versions as (
    select * from {{ source('programs', 'versions') }}
),

known as (
    select
        program,
        version
    from versions
    where not is_draft
)

select
    versions.program,
    versions.version,
    versions.is_draft,
    versions.effective_at,
    versions.description,
    versions.audience,
    versions.lapse_days_at_least,
    versions.lapse_days_below,
    versions.program_group,
    versions.priority,
    versions.cadence,
    versions.weekday,
    coalesce(versions.exclude_purchased_within_days, 0) as exclude_purchased_within_days,
    coalesce(versions.exclude_engaged_within_days, 0) as exclude_engaged_within_days,
    versions.reentry_after_days,
    versions.max_entries,
    versions.max_per_day,
    versions.holdout_percent,
    versions.holdout_below,
    versions.exit_on_purchase,
    versions.exit_on_engagement,
    versions.offer_code,
    versions.offer_percent,
    coalesce(versions.complete_after_days, 0) as complete_after_days,
    versions.complete_tag,
    versions.complete_suppress_days,
    versions.complete_then,
    versions.complete_limit_channel,
    versions.complete_limit_messages,
    versions.complete_limit_days,
    versions.measure_window_days,
    versions.attribution_hours,
    versions.step_count
from versions
left join known on versions.program = known.program and versions.version = known.version
where
    not versions.is_draft
    or ({{ draft_asked_for('versions.program') }} and known.program is null)
