select
    percentile_cont({{ var("high_value_quantile") }}) within group (
        order by cast(lifetime_value as {{ type_double() }})
    ) as lifetime_value
from {{ ref('int_customers__profiled') }}
where order_count > 0
