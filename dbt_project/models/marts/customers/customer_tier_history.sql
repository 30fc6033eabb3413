{{ config(materialized='view') }}

select
    customer_id,
    tier,
    previous_tier,
    started_on,
    case when ended_on <= {{ as_of_date() }} then ended_on end as ended_on
from {{ ref('int_customers__tier_stays') }}
where started_on <= {{ as_of_date() }}
