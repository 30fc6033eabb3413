select
    versions.program || '|' || cast(versions.version as {{ type_text() }}) as program_version_id,
    versions.program,
    versions.version,
    versions.description,
    versions.audience,
    in_force.status,
    coalesce(versions.version = in_force.version, false) as is_in_force,
    versions.effective_at,
    versions.priority,
    versions.cadence,
    cast(versions.holdout_percent as {{ type_double() }}) as holdout_percent,
    versions.measure_window_days as window_days,
    versions.attribution_hours,
    versions.offer_code,
    cast(versions.offer_percent as {{ type_double() }}) as offer_percent,
    versions.step_count
from {{ ref('stg_programs__versions') }} as versions
left join {{ ref('stg_programs__in_force') }} as in_force on versions.program = in_force.program
