select
    steps.program,
    steps.version,
    steps.step_no,
    steps.day,
    steps.kind,
    steps.content,
    steps.only_if,
    steps.unless
from {{ source('programs', 'steps') }} as steps
inner join {{ ref('stg_programs__versions') }} as versions
    on
        steps.program = versions.program
        and steps.version = versions.version
        and steps.is_draft = versions.is_draft
