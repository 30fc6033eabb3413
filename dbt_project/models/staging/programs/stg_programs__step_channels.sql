select
    step_channels.program,
    step_channels.version,
    step_channels.step_no,
    step_channels.position,
    step_channels.channel
from {{ source('programs', 'step_channels') }} as step_channels
inner join {{ ref('stg_programs__versions') }} as versions
    on
        step_channels.program = versions.program
        and step_channels.version = versions.version
        and step_channels.is_draft = versions.is_draft
