with known as (
    select
        push_token,
        customer_id,
        platform,
        active is true as active,
        updated_at,
        -- Of two rows of the same instant the one that says "inactive" holds: a token given up is not tried again.
        row_number() over (partition by push_token order by updated_at desc nulls last, active asc nulls first, customer_id asc) as age_rank
    from {{ source('raw', 'devices') }}
    where updated_at < {{ as_of() }} or updated_at is null
)

select
    push_token,
    customer_id,
    platform,
    active,
    updated_at
from known
where age_rank = 1
