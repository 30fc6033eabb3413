{# Tier of engagement by days since the last activity; unknown counts as inactive. #}
{% macro engagement_tier(days) %}
case
        when {{ days }} < {{ var("tier_at_risk_from_days") }} then 'active'
        when {{ days }} < {{ var("tier_inactive_from_days") }} then 'at_risk'
        else 'inactive'
    end
{%- endmacro %}

{# Where a customer stands as a buyer, by days since the first and the last order; the first match wins. #}
{% macro purchase_lifecycle(days_since_first_order, days_since_last_order) %}
case
        when {{ days_since_last_order }} is null then 'prospect'
        when {{ days_since_first_order }} <= {{ var("lifecycle_new_up_to_days") }} then 'new'
        when {{ days_since_last_order }} <= {{ var("lifecycle_active_up_to_days") }} then 'active'
        when {{ days_since_last_order }} <= {{ var("lifecycle_lapsed_up_to_days") }} then 'lapsed'
        else 'dormant'
    end
{%- endmacro %}
