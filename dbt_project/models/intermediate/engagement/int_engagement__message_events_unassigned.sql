{{ kept_by_event('message_events') }}

select
    event_id,
    channel,
    {{ normal_address('channel', 'address') }} as normal_address,
    event_type,
    occurred_at,
    campaign,
    is_machine is true as is_machine
from {{ source('raw', 'message_events') }}
where customer_id is null and address is not null and {{ of_new_files('message_events') }}
