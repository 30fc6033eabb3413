{#- Ages live here alone, and are a subtraction when somebody reads: what is stored holds dates, which change only when the customer does
    something. -#}
{{ config(materialized='view') }}

with aged as (
    select
        profiles.*,
        {{ days_ago("profiles.first_ordered_on") }} as days_since_first_order,
        {{ days_ago("profiles.last_ordered_on") }} as days_since_last_order,
        {{ days_ago("profiles.active_to") }} as days_since_last_activity,
        {{ engagement_tier(days_ago("profiles.active_to")) }} as engagement_tier
    from {{ ref('int_customers__profiled') }} as profiles
),

profiles as (
    select
        *,
        case
            when active_to is null then {{ first_seen_on("cast(created_at as date)") }}
            when engagement_tier = 'active' then {{ first_seen_on("active_from") }}
            when engagement_tier = 'at_risk' then {{ days_after("active_to", var("tier_at_risk_from_days")) }}
            else {{ days_after("active_to", var("tier_inactive_from_days")) }}
        end as tier_changed_on
    from aged
)

select
    profiles.customer_id,
    profiles.country,
    profiles.timezone,
    profiles.language,
    profiles.brand,
    profiles.created_at,
    profiles.first_ordered_at,
    profiles.last_ordered_at,
    profiles.order_count,
    profiles.order_day_count,
    profiles.lifetime_value,
    cast(profiles.lifetime_value as {{ type_double() }}) / nullif(profiles.order_count, 0) as average_order_value,
    profiles.spend_last_365_days,
    profiles.days_since_first_order,
    profiles.days_since_last_order,
    profiles.average_purchase_interval,
    profiles.median_purchase_interval,
    profiles.purchase_interval_stddev,
    profiles.days_since_last_order - profiles.average_purchase_interval as days_past_cycle,
    profiles.main_category,
    profiles.product_cycle_days,
    profiles.expected_next_order_on,
    profiles.last_opened_at,
    profiles.last_clicked_at,
    profiles.last_email_engaged_at,
    profiles.last_visited_at,
    profiles.last_used_at,
    profiles.last_engaged_at,
    profiles.last_active_at,
    {{ days_ago("cast(profiles.last_opened_at as date)") }} as days_since_last_open,
    {{ days_ago("cast(profiles.last_clicked_at as date)") }} as days_since_last_click,
    {{ days_ago("cast(profiles.last_email_engaged_at as date)") }} as days_since_last_email_engagement,
    {{ days_ago("cast(profiles.last_visited_at as date)") }} as days_since_last_visit,
    {{ days_ago("cast(profiles.last_used_at as date)") }} as days_since_last_product_use,
    {{ days_ago("cast(profiles.last_engaged_at as date)") }} as days_since_last_engagement,
    profiles.days_since_last_activity,
    profiles.engagement_tier,
    case
        when profiles.tier_changed_on is null or profiles.tier_changed_on < {{ as_of_date() }} then profiles.engagement_tier
        when profiles.engagement_tier = 'inactive' then case when profiles.active_to is null then 'inactive' else 'at_risk' end
        when profiles.engagement_tier = 'at_risk' then 'active'
        else {{ engagement_tier(days_between("profiles.previous_active_on", days_after(as_of_date(), -1))) }}
    end as previous_engagement_tier,
    profiles.tier_changed_on,
    {{ purchase_lifecycle("profiles.days_since_first_order", "profiles.days_since_last_order") }} as purchase_lifecycle
    {%- for channel in contact_channels() %},
    {{ unreachable_reason(channel) }} is null as reachable_{{ channel }},
    {{ unreachable_reason(channel) }} as {{ channel }}_unreachable_reason
    {%- endfor %},
    {{ as_of() }} as as_of
from profiles
left join {{ ref('int_customers__suppressed') }} as suppressed on profiles.customer_id = suppressed.customer_id
