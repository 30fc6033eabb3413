{#- Dates are those of the daily runs: a stay holds on every date whose run shows the tier, so it begins the day after the activity it begins with. -#}
{%- set at_risk_from = var("tier_at_risk_from_days") -%}
{%- set inactive_from = var("tier_inactive_from_days") -%}
{{ kept_by_customer() }}

with known as (
    select
        customer_id,
        brand,
        {{ first_seen_on("cast(created_at as date)") }} as created_on
    from {{ touched_rows('int_customers__profiled') }}
),

stretches as (
    select
        stretches.customer_id,
        known.brand,
        stretches.previous_active_on,
        known.created_on,
        {{ first_seen_on("stretches.active_from") }} as active_from,
        {{ days_after("stretches.active_to", at_risk_from) }} as at_risk_from,
        {{ days_after("stretches.active_to", inactive_from) }} as inactive_from,
        {{ first_seen_on("stretches.next_active_from") }} as active_again_from
    from {{ touched_rows('int_customers__active_stretches') }} as stretches
    -- Events may name someone whom the list of customers does not know yet.
    inner join known on stretches.customer_id = known.customer_id
)

select
    customer_id,
    brand,
    'active' as tier,
    case
        when previous_active_on is null then case when created_on < active_from then 'inactive' end
        when {{ days_after("previous_active_on", inactive_from) }} < active_from then 'inactive'
        else 'at_risk'
    end as previous_tier,
    active_from as started_on,
    at_risk_from as ended_on
from stretches

union all

select
    customer_id,
    brand,
    'at_risk' as tier,
    'active' as previous_tier,
    at_risk_from as started_on,
    case when active_again_from < inactive_from then active_again_from else inactive_from end as ended_on
from stretches

union all

select
    customer_id,
    brand,
    'inactive' as tier,
    'at_risk' as previous_tier,
    inactive_from as started_on,
    active_again_from as ended_on
from stretches
where active_again_from is null or active_again_from > inactive_from

union all

-- Known, but not yet seen doing anything.
select
    known.customer_id,
    known.brand,
    'inactive' as tier,
    cast(null as {{ type_text() }}) as previous_tier,
    known.created_on as started_on,
    stretches.active_from as ended_on
from known
left join stretches on known.customer_id = stretches.customer_id and stretches.previous_active_on is null
where known.created_on is not null and (stretches.active_from is null or stretches.active_from > known.created_on)
