{#- What makes a channel unreachable, in the order in which it is said. Ads need a hashed identifier, so a valid email or phone. -#}
{%- set addresses = {
    "email": ("addressed.email", "addressed.is_email_valid"),
    "sms": ("addressed.phone", "addressed.is_phone_valid"),
    "push": ("addressed.push_token", "true"),
    "ads": ("coalesce(addressed.email, addressed.phone)", "(addressed.is_email_valid or addressed.is_phone_valid)"),
} -%}
{%- set trusted_gaps = var("interval_trusted_from_gaps") -%}
{{ kept_by_customer() }}

with addressed as (
    select * from {{ touched_rows('int_customers__addressed') }}
),

consents as (
    select * from {{ touched_rows('int_customers__consents_in_force') }}
),

refusals as (
    select * from {{ touched_rows('int_customers__message_refusals') }}
),

rhythm as (
    select * from {{ touched_rows('int_customers__rhythm_measured') }}
),

engagement as (
    select * from {{ touched_rows('int_customers__engagement_measured') }}
),

last_stretches as (
    select * from {{ touched_rows('int_customers__active_stretches') }} where next_active_from is null
),

main_categories as (
    select * from {{ touched_rows('int_customers__main_category') }}
),

past_year as (
    select
        customer_id,
        sum(revenue) as spend
    from {{ touched_rows('int_orders__past_year_by_channel') }}
    group by customer_id
),

product_cycles as (
    select
        lower(category) as category,
        cycle_days
    from {{ ref('product_cycles') }}
),

joined as (
    select
        addressed.customer_id,
        addressed.email,
        addressed.phone,
        addressed.first_name,
        addressed.last_name,
        addressed.country,
        addressed.timezone,
        addressed.language,
        addressed.brand,
        addressed.created_at,
        addressed.extras,
        addressed.push_token,
        addressed.push_platform
        {%- for channel, (address, is_valid) in addresses.items() %},
        case
            when {{ address }} is null then 'no_address'
            when not {{ is_valid }} then 'invalid_address'
            when consents.{{ channel }}_consented_at is null and consents.{{ channel }}_withdrawn_at is not null then 'consent_withdrawn'
            when consents.{{ channel }}_consented_at is null then 'no_consent'
            {%- if channel != "ads" %}
            when refusals.{{ channel }}_unsubscribed_at >= consents.{{ channel }}_consented_at then 'unsubscribed'
            when refusals.{{ channel }}_complained_at >= consents.{{ channel }}_consented_at then 'complained'
            when refusals.{{ channel }}_is_bouncing then 'bounced'
            {%- endif %}
        end as {{ channel }}_unreachable_reason
        {%- endfor %},
        rhythm.first_ordered_at,
        rhythm.last_ordered_at,
        rhythm.first_ordered_on,
        rhythm.last_ordered_on,
        coalesce(rhythm.order_count, 0) as order_count,
        coalesce(rhythm.order_day_count, 0) as order_day_count,
        cast(coalesce(rhythm.lifetime_value, 0) as {{ type_money() }}) as lifetime_value,
        cast(coalesce(past_year.spend, 0) as {{ type_money() }}) as spend_last_365_days,
        rhythm.average_purchase_interval,
        rhythm.median_purchase_interval,
        rhythm.purchase_interval_stddev,
        main_categories.main_category,
        coalesce(
            product_cycles.cycle_days,
            (select defaults.cycle_days from product_cycles as defaults where defaults.category = 'default')
        ) as product_cycle_days,
        engagement.last_opened_at,
        engagement.last_clicked_at,
        engagement.last_email_engaged_at,
        engagement.last_visited_at,
        engagement.last_used_at,
        {{ greatest_known([
            "engagement.last_opened_at",
            "engagement.last_clicked_at",
            "engagement.last_replied_at",
            "engagement.last_visited_at",
            "engagement.last_used_at",
        ]) }} as last_engaged_at,
        last_stretches.active_from,
        last_stretches.active_to,
        last_stretches.previous_active_on
    from addressed
    left join consents on addressed.customer_id = consents.customer_id
    left join refusals on addressed.customer_id = refusals.customer_id
    left join rhythm on addressed.customer_id = rhythm.customer_id
    left join engagement on addressed.customer_id = engagement.customer_id
    left join last_stretches on addressed.customer_id = last_stretches.customer_id
    left join main_categories on addressed.customer_id = main_categories.customer_id
    left join past_year on addressed.customer_id = past_year.customer_id
    left join product_cycles on lower(main_categories.main_category) = product_cycles.category
),

expected as (
    select
        *,
        -- Own rhythm where there is enough of it; else the gaps there are, filled up with the product's cycle to as many as are trusted.
        case
            when order_day_count = 0 then null
            when order_day_count - 1 >= {{ trusted_gaps }} then average_purchase_interval
            else (
                {{ days_between("first_ordered_on", "last_ordered_on") }} + ({{ trusted_gaps }} - order_day_count + 1) * product_cycle_days
            ) / cast({{ trusted_gaps }} as {{ type_double() }})
        end as expected_interval
    from joined
)

select
    customer_id,
    email,
    phone,
    first_name,
    last_name,
    country,
    timezone,
    language,
    brand,
    created_at,
    extras,
    push_token,
    push_platform,
    {%- for channel in addresses %}
    {{ channel }}_unreachable_reason,
    {%- endfor %}
    first_ordered_at,
    last_ordered_at,
    first_ordered_on,
    last_ordered_on,
    order_count,
    order_day_count,
    lifetime_value,
    spend_last_365_days,
    average_purchase_interval,
    median_purchase_interval,
    purchase_interval_stddev,
    main_category,
    product_cycle_days,
    {{ days_after("last_ordered_on", "cast(floor(expected_interval + 0.5) as integer)") }} as expected_next_order_on,
    last_opened_at,
    last_clicked_at,
    last_email_engaged_at,
    last_visited_at,
    last_used_at,
    last_engaged_at,
    {{ greatest_known(["last_ordered_at", "last_engaged_at"]) }} as last_active_at,
    active_from,
    active_to,
    previous_active_on
from expected
