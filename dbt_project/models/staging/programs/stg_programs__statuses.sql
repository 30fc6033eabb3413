select
    program,
    status,
    effective_at
from {{ source('programs', 'statuses') }}
where not is_draft and effective_at <= {{ as_of() }}
