{#- Ages live here alone: everything that this reads holds dates, which change only when the customer does something. -#}
{%- set trusted_gaps = var("interval_trusted_from_gaps") -%}

with contacts as (
    select * from {{ ref('int_customers__contacts') }}
),

rhythm as (
    select * from {{ ref('int_customers__rhythm_measured') }}
),

engagement as (
    select * from {{ ref('int_customers__engagement_measured') }}
),

last_stretches as (
    select * from {{ ref('int_customers__active_stretches') }} where next_active_from is null
),

main_categories as (
    select * from {{ ref('int_customers__main_category') }}
),

recent_spend as (
    select
        customer_id,
        sum(net_value) as spend
    from {{ ref('int_orders__order_days') }}
    where ordered_on > {{ days_after(as_of_date(), -var("recent_spend_days")) }}
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
        contacts.customer_id,
        contacts.country,
        contacts.timezone,
        contacts.language,
        contacts.brand,
        contacts.created_at,
        rhythm.first_ordered_at,
        rhythm.last_ordered_at,
        rhythm.first_ordered_on,
        rhythm.last_ordered_on,
        coalesce(rhythm.order_count, 0) as order_count,
        coalesce(rhythm.order_day_count, 0) as order_day_count,
        coalesce(rhythm.lifetime_value, 0) as lifetime_value,
        coalesce(recent_spend.spend, 0) as spend_last_365_days,
        {{ days_ago("rhythm.first_ordered_on") }} as days_since_first_order,
        {{ days_ago("rhythm.last_ordered_on") }} as days_since_last_order,
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
        last_stretches.previous_active_on,
        {{ days_ago("last_stretches.active_to") }} as days_since_last_activity,
        contacts.reachable_email,
        contacts.email_unreachable_reason,
        contacts.reachable_sms,
        contacts.sms_unreachable_reason,
        contacts.reachable_push,
        contacts.push_unreachable_reason,
        contacts.reachable_ads,
        contacts.ads_unreachable_reason
    from contacts
    left join rhythm on contacts.customer_id = rhythm.customer_id
    left join engagement on contacts.customer_id = engagement.customer_id
    left join last_stretches on contacts.customer_id = last_stretches.customer_id
    left join main_categories on contacts.customer_id = main_categories.customer_id
    left join recent_spend on contacts.customer_id = recent_spend.customer_id
    left join product_cycles on lower(main_categories.main_category) = product_cycles.category
),

tiered as (
    select
        *,
        {{ greatest_known(["last_ordered_at", "last_engaged_at"]) }} as last_active_at,
        {{ engagement_tier("days_since_last_activity") }} as engagement_tier,
        -- Own rhythm where there is enough of it; else the gaps there are, filled up with the product's cycle to as many as are trusted.
        case
            when order_day_count = 0 then null
            when order_day_count - 1 >= {{ trusted_gaps }} then average_purchase_interval
            else (
                {{ days_between("first_ordered_on", "last_ordered_on") }} + ({{ trusted_gaps }} - order_day_count + 1) * product_cycle_days
            ) / cast({{ trusted_gaps }} as {{ type_double() }})
        end as expected_interval
    from joined
),

changed as (
    select
        *,
        case
            when active_to is null then {{ first_seen_on("cast(created_at as date)") }}
            when engagement_tier = 'active' then {{ first_seen_on("active_from") }}
            when engagement_tier = 'at_risk' then {{ days_after("active_to", var("tier_at_risk_from_days")) }}
            else {{ days_after("active_to", var("tier_inactive_from_days")) }}
        end as tier_changed_on
    from tiered
)

select
    customer_id,
    country,
    timezone,
    language,
    brand,
    created_at,
    first_ordered_at,
    last_ordered_at,
    order_count,
    order_day_count,
    cast(lifetime_value as {{ type_money() }}) as lifetime_value,
    cast(lifetime_value as {{ type_double() }}) / nullif(order_count, 0) as average_order_value,
    cast(spend_last_365_days as {{ type_money() }}) as spend_last_365_days,
    days_since_first_order,
    days_since_last_order,
    average_purchase_interval,
    median_purchase_interval,
    purchase_interval_stddev,
    days_since_last_order - average_purchase_interval as days_past_cycle,
    main_category,
    product_cycle_days,
    {{ days_after("last_ordered_on", "cast(floor(expected_interval + 0.5) as integer)") }} as expected_next_order_on,
    last_opened_at,
    last_clicked_at,
    last_email_engaged_at,
    last_visited_at,
    last_used_at,
    last_engaged_at,
    last_active_at,
    {{ days_ago("cast(last_opened_at as date)") }} as days_since_last_open,
    {{ days_ago("cast(last_clicked_at as date)") }} as days_since_last_click,
    {{ days_ago("cast(last_email_engaged_at as date)") }} as days_since_last_email_engagement,
    {{ days_ago("cast(last_visited_at as date)") }} as days_since_last_visit,
    {{ days_ago("cast(last_used_at as date)") }} as days_since_last_product_use,
    {{ days_ago("cast(last_engaged_at as date)") }} as days_since_last_engagement,
    days_since_last_activity,
    engagement_tier,
    case
        when tier_changed_on is null or tier_changed_on < {{ as_of_date() }} then engagement_tier
        when engagement_tier = 'inactive' then case when active_to is null then 'inactive' else 'at_risk' end
        when engagement_tier = 'at_risk' then 'active'
        else {{ engagement_tier(days_between("previous_active_on", days_after(as_of_date(), -1))) }}
    end as previous_engagement_tier,
    tier_changed_on,
    {{ purchase_lifecycle("days_since_first_order", "days_since_last_order") }} as purchase_lifecycle,
    reachable_email,
    email_unreachable_reason,
    reachable_sms,
    sms_unreachable_reason,
    reachable_push,
    push_unreachable_reason,
    reachable_ads,
    ads_unreachable_reason,
    {{ as_of() }} as as_of
from changed
