{{ passed_on() }}

with changed as (
    select
        customer_id
        {%- for channel in contact_channels() %},
        max(case when channel = '{{ channel }}' and granted then changed_at end) as {{ channel }}_granted_at,
        max(case when channel = '{{ channel }}' and not granted then changed_at end) as {{ channel }}_withdrawn_at
        {% endfor %} -- noqa: LT02
    from {{ ref('stg_shop__consents') }}
    where {{ of_touched() }}
    group by customer_id
)

select
    customer_id
    {%- for channel in contact_channels() %},
    -- Given and withdrawn at the same instant counts as withdrawn.
    case
        when {{ channel }}_withdrawn_at is null or {{ channel }}_granted_at > {{ channel }}_withdrawn_at then {{ channel }}_granted_at
    end as {{ channel }}_consented_at,
    {{ channel }}_withdrawn_at
    {% endfor %} -- noqa: LT02
from changed
