{#- The one file of segments. Each line of the last select, `<condition> as <segment>`, is a segment that programs may name and that stands in
    customer_segments. Conditions read the columns of the customers mart; one that is unknown counts as false. -#}

{{ config(materialized='view') }}

with judged as (
    select
        customers.*,
        coalesce(customers.days_since_last_activity < {{ var("segment_inactive_from_days") }}, false) as is_active,
        coalesce(customers.days_since_last_engagement < {{ var("segment_inactive_from_days") }}, false) as is_engaged,
        coalesce(customers.days_since_last_order < {{ var("segment_inactive_from_days") }}, false) as has_purchased_recently,
        thresholds.lifetime_value as high_value_from
    from {{ ref('customers') }} as customers
    cross join {{ ref('int_customers__high_value_threshold') }} as thresholds
)

select
    customer_id,
    is_engaged as active_user,
    not is_engaged as not_active_user,
    order_count > 0 as customer,
    order_count = 0 as prospect,
    order_count = 1 as one_time_buyer,
    order_day_count >= 2 as repeat_buyer,
    has_purchased_recently as purchased_last_90d,
    not has_purchased_recently as no_purchase_last_90d,
    order_count > 0 and not is_active as customer_not_active,
    order_count > 0 and is_active as customer_active,
    order_count > 0 and cast(lifetime_value as {{ type_double() }}) >= high_value_from as high_value,
    reachable_email as email_subscriber,
    reachable_sms as sms_subscriber,
    reachable_push as push_subscriber
from judged
