select
    ad_platforms.program,
    ad_platforms.version,
    ad_platforms.platform,
    ad_platforms.channel
from {{ source('programs', 'ad_platforms') }} as ad_platforms
inner join {{ ref('stg_programs__versions') }} as versions
    on
        ad_platforms.program = versions.program
        and ad_platforms.version = versions.version
        and ad_platforms.is_draft = versions.is_draft
