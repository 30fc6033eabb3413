select
    customer_id,
    channel,
    changed_at,
    granted is true as granted,
    source
from {{ source('raw', 'consents') }}
where changed_at < {{ as_of() }}
