{#- A table, small as it is: every audience and a dozen other models read it, and what an engine knows of it, such as that there are eight programs,
    decides how it plans the joins of millions of rows. -#}
{{ config(materialized='table') }}

with versions as (
    select
        *,
        effective_at <= {{ as_of() }} as is_effective
    from {{ ref('stg_programs__versions') }}
),

-- The draft (previews only), else the last version that holds at as_of, else the first: days before the program was first synced are
-- derived with it as it was first written.
ranked_versions as (
    select
        *,
        row_number() over (
            partition by program
            order by
                case when is_draft then 0 else 1 end,
                case when is_effective then 0 else 1 end,
                case when is_effective then -version else version end
        ) as position
    from versions
),

ranked_statuses as (
    select
        program,
        status,
        row_number() over (
            partition by program
            order by
                case when is_draft then 0 else 1 end,
                case when effective_at <= {{ as_of() }} then 0 else 1 end,
                case when effective_at <= {{ as_of() }} then effective_at end desc nulls last,
                effective_at
        ) as position
    from {{ source('programs', 'statuses') }}
    where not is_draft or {{ draft_asked_for('program') }}
)

select
    versions.program,
    versions.version,
    versions.is_draft,
    versions.audience,
    versions.lapse_days_at_least,
    versions.lapse_days_below,
    versions.program_group,
    versions.priority,
    cast(row_number() over (order by versions.priority desc, versions.program asc) as integer) as turn,
    cast(dense_rank() over (order by versions.program_group) as integer) as group_no,
    versions.cadence,
    versions.weekday,
    versions.exclude_purchased_within_days,
    versions.exclude_engaged_within_days,
    versions.reentry_after_days,
    versions.max_entries,
    versions.max_per_day,
    versions.holdout_percent,
    versions.holdout_below,
    versions.exit_on_purchase,
    versions.exit_on_engagement,
    versions.complete_after_days,
    versions.complete_tag,
    versions.complete_suppress_days,
    versions.complete_then,
    versions.complete_limit_channel,
    versions.complete_limit_messages,
    versions.complete_limit_days,
    versions.measure_window_days,
    versions.attribution_hours,
    versions.step_count,
    coalesce(statuses.status, 'draft') as status,
    coalesce(
        statuses.status = 'live'
        or (statuses.status = 'draft' and {{ draft_asked_for('versions.program') }}),
        false
    ) as is_live
from ranked_versions as versions
left join ranked_statuses as statuses on versions.program = statuses.program and statuses.position = 1
where versions.position = 1
