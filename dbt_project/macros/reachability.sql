{# Channels that need consent and an address. #}
{% macro contact_channels() %}{{ return(["email", "sms", "push", "ads"]) }}{% endmacro %}

{# Why a channel is out for a customer at as_of, over `profiles` (int_customers__profiled) and `suppressed` (int_customers__suppressed): what is
   known of the customer, and last the suppressions of today. #}
{% macro unreachable_reason(channel) -%}
    coalesce(profiles.{{ channel }}_unreachable_reason, case when suppressed.{{ channel }}_is_suppressed then 'suppressed' end)
{%- endmacro %}
