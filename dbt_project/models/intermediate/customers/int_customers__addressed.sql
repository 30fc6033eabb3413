{{ passed_on(whole='view') }}

with known as (
    {{ touched_customers() }}
),

rhythm as (
    select customer_id from {{ touched_rows('int_customers__rhythm_measured') }}
),

devices as (
    select
        customer_id,
        push_token,
        platform,
        row_number() over (partition by customer_id order by updated_at desc nulls last, push_token asc) as age_rank
    from {{ ref('stg_shop__devices') }}
    where active and {{ of_touched() }}
)

select
    -- Someone who has bought is a customer, even where the list of customers does not name them.
    coalesce(known.customer_id, rhythm.customer_id) as customer_id,
    known.email,
    known.phone,
    known.first_name,
    known.last_name,
    known.country,
    known.timezone,
    known.language,
    known.brand,
    known.created_at,
    known.extras,
    devices.push_token,
    devices.platform as push_platform,
    coalesce(
        length(known.email) <= {{ var("email_length_at_most") }} and {{ matches("known.email", var("email_pattern")) }}, false
    ) as is_email_valid,
    coalesce({{ matches("known.phone", var("phone_pattern")) }}, false) as is_phone_valid
from known
full outer join rhythm on known.customer_id = rhythm.customer_id
left join devices on known.customer_id = devices.customer_id and devices.age_rank = 1
