with channels as (
    select
        program,
        version,
        channel
    from {{ ref('stg_programs__step_channels') }}

    union all

    select
        program,
        version,
        channel
    from {{ ref('stg_programs__ad_platforms') }}
)

select
    versions.program,
    versions.version,
    coalesce({{ dbt.bool_or("channels.channel = 'email'") }}, false) as uses_email,
    coalesce({{ dbt.bool_or("channels.channel = 'sms'") }}, false) as uses_sms,
    coalesce({{ dbt.bool_or("channels.channel = 'push'") }}, false) as uses_push,
    coalesce({{ dbt.bool_or("channels.channel = 'ads'") }}, false) as uses_ads,
    count(channels.channel) = 0 as needs_no_channel
from {{ ref('stg_programs__versions') }} as versions
left join channels on versions.program = channels.program and versions.version = channels.version
group by versions.program, versions.version
