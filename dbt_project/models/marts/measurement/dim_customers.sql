{{ config(materialized='view') }}

select
    customer_id,
    {{ or_none('brand') }} as brand,
    {{ or_none('country') }} as country,
    {{ or_none('language') }} as language,
    cast(created_at as date) as created_on,
    cast(first_ordered_at as date) as first_ordered_on,
    {{ month_start('first_ordered_at') }} as first_order_month,
    purchase_lifecycle,
    engagement_tier,
    {{ spend_band('lifetime_value', 'order_count') }} as lifetime_spend_band,
    {{ spend_band_from('lifetime_value', 'order_count') }} as lifetime_spend_band_from,
    reachable_email or reachable_sms or reachable_push as is_reachable
from {{ ref('customers') }}
