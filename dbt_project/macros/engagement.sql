{# What an event of the ledger is among message events; null: nothing that they know. Unsubscriptions and complaints are not among them:
   they are suppressions, which a person can take back, and bounces for good are suppressions too. #}
{% macro message_event_type(event_type) -%}
    case
        when {{ event_type }} = 'read' then 'opened'
        when {{ event_type }} in ('bounced', 'soft_bounced') then 'bounced'
        when {{ event_type }} in ('delivered', 'opened', 'clicked', 'replied') then {{ event_type }}
    end
{%- endmacro %}
