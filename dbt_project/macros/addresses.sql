{# Addresses in the one form in which they are compared: every table that names people by them writes them as it likes. Null where nothing is
   left. winback/delivery/feedback.py has the same rule for what it reads of raw. #}
{% macro normal_email(text) %}nullif(lower(trim({{ text }})), ''){% endmacro %}

{# `+` and digits; 00 in front is the + that a phone without one dials. #}
{% macro normal_phone(text) %}nullif(regexp_replace({{ without_matches(text, "[^0-9+]") }}, '^00', '+'), ''){% endmacro %}

{% macro normal_address(channel, text) -%}
    case {{ channel }} when 'email' then {{ normal_email(text) }} when 'sms' then {{ normal_phone(text) }} else trim({{ text }}) end
{%- endmacro %}
