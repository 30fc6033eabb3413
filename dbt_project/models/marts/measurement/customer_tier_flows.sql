{%- set first_date = days_after(as_of_date(), -var("tier_flow_days")) -%}

-- Each part reads the few columns that it needs: a shared CTE would copy every stay.
with moves as (
    select
        started_on as date_day,
        {{ or_none('brand') }} as brand,
        coalesce(previous_tier, '(new)') as from_tier,
        tier as to_tier,
        count(*) as customers
    from {{ ref('int_customers__tier_stays') }}
    where started_on > {{ first_date }} and started_on <= {{ as_of_date() }}
    group by started_on, {{ or_none('brand') }}, coalesce(previous_tier, '(new)'), tier
),

changes as (
    select date_day, brand, to_tier as tier, customers as arrived, 0 as left_it
    from moves
    union all
    -- Who leaves a tier arrives in another on that date.
    select date_day, brand, from_tier as tier, 0 as arrived, customers as left_it
    from moves
    where from_tier <> '(new)'
    union all
    -- Who was there when the first date opened.
    select {{ first_date }} as date_day, {{ or_none('brand') }} as brand, tier, count(*) as arrived, 0 as left_it
    from {{ ref('int_customers__tier_stays') }}
    where started_on <= {{ first_date }} and (ended_on is null or ended_on > {{ first_date }})
    group by {{ or_none('brand') }}, tier
),

changed as (
    select
        date_day,
        brand,
        tier,
        sum(arrived) as arrived,
        sum(left_it) as left_it
    from changes
    group by date_day, brand, tier
),

tiers as (
    select distinct
        brand,
        tier
    from changes
),

days as (
    {{ numbers_up_to(var("tier_flow_days")) }}
),

daily as (
    select
        {{ days_after(first_date, 'days.number') }} as date_day,
        tiers.brand,
        tiers.tier,
        sum(coalesce(changed.arrived, 0) - coalesce(changed.left_it, 0)) over (
            partition by tiers.brand, tiers.tier order by days.number
            rows between unbounded preceding and current row
        ) as size,
        coalesce(changed.arrived, 0) as arrived
    from tiers
    cross join days
    left join changed
        on
            tiers.brand = changed.brand
            and tiers.tier = changed.tier
            and changed.date_day = {{ days_after(first_date, 'days.number') }}
)

select
    date_day,
    brand,
    from_tier,
    to_tier,
    cast(customers as bigint) as customers
from moves

union all

select
    date_day,
    brand,
    tier as from_tier,
    tier as to_tier,
    cast(size - arrived as bigint) as customers
from daily
where date_day > {{ first_date }} and size > arrived
