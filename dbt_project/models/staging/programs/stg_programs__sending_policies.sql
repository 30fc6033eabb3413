with policies as (
    select
        *,
        effective_at <= {{ as_of() }} as is_effective
    from {{ source('programs', 'sending_policies') }}
    where not is_draft or {{ is_preview() }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by channel
            order by
                case when is_draft then 0 else 1 end,
                case when is_effective then 0 else 1 end,
                case when is_effective then -version else version end
        ) as position
    from policies
)

select
    channel,
    version,
    max_messages,
    window_days,
    patience_days
from ranked
where position = 1
