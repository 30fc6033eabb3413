{%- set last_day = var("return_curve_days") -%}

-- A day after entry is observed once it is over. Whoever has neither come back nor been observed longer leaves the count of those at risk
-- on the first day that is not over.
with observed as (
    select
        program,
        cohort_month,
        brand,
        arm,
        {{ days_between('enrolled_on', as_of_date()) }} as observed_days,
        days_to_purchase
    from {{ ref('fct_enrolments') }}
    where entry_no = 1
),

ends as (
    select
        program,
        cohort_month,
        brand,
        arm,
        least(observed_days, coalesce(days_to_purchase, observed_days), {{ last_day }} + 1) as end_day,
        coalesce(days_to_purchase < observed_days and days_to_purchase <= {{ last_day }}, false) as has_returned
    from observed
),

scoped as (
    select
        'program' as scope,
        program,
        cast(null as date) as cohort_month,
        '(all)' as brand,
        arm,
        end_day,
        has_returned
    from ends

    union all

    select
        'cohort' as scope,
        program,
        cohort_month,
        brand,
        arm,
        end_day,
        has_returned
    from ends
),

counted as (
    select
        scope,
        program,
        cohort_month,
        brand,
        arm,
        end_day,
        count(case when has_returned then 1 end) as returned,
        count(case when not has_returned then 1 end) as censored
    from scoped
    group by scope, program, cohort_month, brand, arm, end_day
),

curves as (
    select
        scope,
        program,
        cohort_month,
        brand,
        arm,
        sum(returned + censored) as enrolled
    from counted
    group by scope, program, cohort_month, brand, arm
),

days as (
    {{ numbers_up_to(last_day) }}
),

daily as (
    select
        curves.scope,
        curves.program,
        curves.cohort_month,
        curves.brand,
        curves.arm,
        curves.enrolled,
        days.number as day,
        coalesce(counted.returned, 0) as returned,
        coalesce(counted.censored, 0) as censored
    from curves
    cross join days
    left join counted
        on
            curves.scope = counted.scope
            and curves.program = counted.program
            and curves.cohort_month is not distinct from counted.cohort_month
            and curves.brand = counted.brand
            and curves.arm = counted.arm
            and days.number = counted.end_day
),

followed as (
    select
        *,
        -- Those who came back on the day were at risk on it; those who could not be observed on it were not.
        enrolled + returned - sum(returned + censored) over (
            partition by scope, program, cohort_month, brand, arm order by day
            rows between unbounded preceding and current row
        ) as at_risk
    from daily
),

surviving as (
    select
        *,
        max(case when at_risk > 0 and returned = at_risk then 1 else 0 end) over (
            partition by scope, program, cohort_month, brand, arm order by day
            rows between unbounded preceding and current row
        ) as all_returned,
        sum(case when returned < at_risk then ln(1.0 - cast(returned as {{ type_double() }}) / at_risk) end) over (
            partition by scope, program, cohort_month, brand, arm order by day
            rows between unbounded preceding and current row
        ) as log_not_returned
    from followed
)

select
    scope,
    program,
    cohort_month,
    brand,
    arm,
    day,
    cast(enrolled as bigint) as enrolled,
    cast(at_risk as bigint) as at_risk,
    returned,
    case
        when at_risk = 0 then null
        when all_returned = 1 then 100.0
        else 100.0 * (1.0 - exp(coalesce(log_not_returned, 0.0)))
    end as returned_percentage
from surviving
