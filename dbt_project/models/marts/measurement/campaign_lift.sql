{#- Each row of the report compares the arms within strata, a program's versions, and weighs the strata by their treated customers: versions
   may hold out different shares, and their seasons differ, so that arms thrown together would compare seasons. With one stratum, which is
   the usual case, everything below is the textbook's formula. -#}
{%- set z = normal_quantile() -%}
{%- set sums = [
    'treatment_journeys', 'treatment_first_entries', 'holdout_first_entries', 'treatment_enrolled', 'holdout_enrolled',
    'treatment_purchased', 'holdout_purchased', 'treatment_orders', 'holdout_orders', 'treatment_orders_squared', 'holdout_orders_squared',
    'treatment_revenue', 'holdout_revenue', 'treatment_revenue_squared', 'holdout_revenue_squared', 'treatment_discounts',
    'holdout_discounts', 'message_cost', 'attributed_orders', 'attributed_revenue'
] -%}
{%- set scopes = {
    'all': ["'(all)'", 'cast(null as integer)', 'cast(null as date)'],
    'program': ['program', 'cast(null as integer)', 'cast(null as date)'],
    'version': ['program', 'version', 'cast(null as date)'],
    'cohort_month': ['program', 'cast(null as integer)', 'cohort_month'],
} -%}
{%- set means = ['orders', 'revenue'] -%}

with arms as (
    select * from {{ ref('int_measurement__arms_summed') }}
),

strata as (
    {%- for scope, keys in scopes.items() %}
    select
        '{{ scope }}' as scope,
        {{ keys[0] }} as row_program,
        {{ keys[1] }} as row_version,
        {{ keys[2] }} as row_cohort_month,
        program,
        version
        {%- for sum in sums %},
        cast(sum({{ sum }}) as {{ type_double() }}) as {{ sum }}
        {%- endfor %},
        min(next_window_closes_on) as next_window_closes_on
    from arms
    group by program, version{% if scope == 'cohort_month' %}, cohort_month{% endif %}
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- endfor %}
),

costs as (
    select
        programs.program,
        coalesce(own_fixed.amount, any_fixed.amount, 0) as fixed_cost,
        coalesce(own_margin.amount, any_margin.amount, 100) / 100.0 as margin,
        programs.journeys
    from (
        select
            program,
            sum(treatment_journeys) as journeys
        from arms
        group by program
    ) as programs
    left join {{ ref('costs') }} as own_fixed on programs.program = own_fixed.program and own_fixed.item = 'program'
    left join {{ ref('costs') }} as any_fixed on any_fixed.program = '*' and any_fixed.item = 'program'
    left join {{ ref('costs') }} as own_margin on programs.program = own_margin.program and own_margin.item = 'gross_margin_percent'
    left join {{ ref('costs') }} as any_margin on any_margin.program = '*' and any_margin.item = 'gross_margin_percent'
),

-- An arm of one has no variance: such a stratum says nothing, and its treated customers are told apart.
compared as (
    select
        strata.*,
        strata.treatment_enrolled >= 2 and strata.holdout_enrolled >= 2 as is_compared,
        sum(
            case when strata.treatment_enrolled >= 2 and strata.holdout_enrolled >= 2 then strata.treatment_enrolled end
        ) over (partition by strata.scope, strata.row_program, strata.row_version, strata.row_cohort_month) as all_treated,
        versions.holdout_percent / 100.0 as asked_share,
        cast(costs.fixed_cost as {{ type_double() }}) * strata.treatment_enrolled / nullif(costs.journeys, 0) as fixed_cost,
        cast(costs.margin as {{ type_double() }}) as margin
    from strata
    left join {{ ref('stg_programs__versions') }} as versions on strata.program = versions.program and strata.version = versions.version
    left join costs on strata.program = costs.program
),

measured as (
    select
        *,
        treatment_first_entries + holdout_first_entries as first_entries,
        case when is_compared then treatment_enrolled / all_treated end as weight,
        treatment_purchased / nullif(treatment_enrolled, 0) as treatment_share,
        holdout_purchased / nullif(holdout_enrolled, 0) as won_in_holdout,
        (treatment_purchased + holdout_purchased + 1.0) / (treatment_enrolled + holdout_enrolled + 2.0) as pooled_share,
        1.0 / nullif(treatment_enrolled, 0) + 1.0 / nullif(holdout_enrolled, 0) as inverse_sizes,
        {%- for arm in ['treatment', 'holdout'] %}
        {{ wilson_bound(arm ~ '_purchased', 'nullif(' ~ arm ~ '_enrolled, 0)', -1) }} as {{ arm }}_share_low,
        {{ wilson_bound(arm ~ '_purchased', 'nullif(' ~ arm ~ '_enrolled, 0)', 1) }} as {{ arm }}_share_high,
        {%- for mean in means %}
        {{ arm }}_{{ mean }} / nullif({{ arm }}_enrolled, 0) as {{ arm }}_{{ mean }}_mean,
        {{ sample_variance(arm ~ '_enrolled', arm ~ '_' ~ mean, arm ~ '_' ~ mean ~ '_squared') }}
        / nullif({{ arm }}_enrolled, 0) as {{ arm }}_{{ mean }}_variance,
        {%- endfor %}
        {%- endfor %}
        {{ sample_variance(
            '(treatment_enrolled + holdout_enrolled)',
            '(treatment_revenue + holdout_revenue)',
            '(treatment_revenue_squared + holdout_revenue_squared)'
        ) }} as pooled_revenue_variance
    from compared
),

summed as (
    select
        scope,
        row_program as program,
        row_version as version,
        row_cohort_month as cohort_month,
        sum(case when is_compared then treatment_enrolled end) as treatment_enrolled,
        sum(case when is_compared then holdout_enrolled end) as holdout_enrolled,
        sum(treatment_first_entries - treatment_enrolled) as treatment_immature,
        sum(holdout_first_entries - holdout_enrolled) as holdout_immature,
        sum(case when is_compared then 0 else treatment_enrolled end) as treatment_without_holdout,
        sum(case when is_compared then treatment_purchased end) as treatment_purchased,
        sum(case when is_compared then holdout_purchased end) as holdout_purchased,
        sum(weight * treatment_share) as treatment_share,
        sum(weight * won_in_holdout) as holdout_share,
        sum(weight * weight * (
            (treatment_share - treatment_share_low) * (treatment_share - treatment_share_low)
            + (holdout_share_high - won_in_holdout) * (holdout_share_high - won_in_holdout)
        )) as below_squared,
        sum(weight * weight * (
            (treatment_share_high - treatment_share) * (treatment_share_high - treatment_share)
            + (won_in_holdout - holdout_share_low) * (won_in_holdout - holdout_share_low)
        )) as above_squared,
        sum(weight * weight * treatment_share * (1.0 - treatment_share) / treatment_enrolled) as treatment_share_variance,
        sum(weight * weight * won_in_holdout * (1.0 - won_in_holdout) / holdout_enrolled) as holdout_share_variance,
        -- Looked at early, an arm with no purchase yet seems to have no variance: the always-valid intervals take the larger of what the arms
        -- say apart and together.
        sum(weight * weight * {{ greatest_known([
            "treatment_share * (1.0 - treatment_share) / treatment_enrolled + won_in_holdout * (1.0 - won_in_holdout) / holdout_enrolled",
            "pooled_share * (1.0 - pooled_share) * inverse_sizes",
        ]) }}) as cautious_share_variance,
        sum(weight * weight * {{ greatest_known([
            "treatment_revenue_variance + holdout_revenue_variance", "pooled_revenue_variance * inverse_sizes"
        ]) }}) as cautious_revenue_variance,
        {%- for mean in means %}
        sum(weight * treatment_{{ mean }}_mean) as treatment_{{ mean }},
        sum(weight * holdout_{{ mean }}_mean) as holdout_{{ mean }},
        sum(weight * weight * (treatment_{{ mean }}_variance + holdout_{{ mean }}_variance)) as {{ mean }}_variance,
        sum(weight * weight * weight * weight * (
            treatment_{{ mean }}_variance * treatment_{{ mean }}_variance / (treatment_enrolled - 1.0)
            + holdout_{{ mean }}_variance * holdout_{{ mean }}_variance / (holdout_enrolled - 1.0)
        )) as {{ mean }}_variance_of_variance,
        {%- endfor %}
        sum(case when is_compared then attributed_orders end) as attributed_orders,
        sum(case when is_compared then attributed_revenue end) as attributed_revenue,
        sum(case when is_compared then message_cost end) as message_cost,
        sum(case when is_compared then fixed_cost end) as fixed_cost,
        sum(case when is_compared then treatment_discounts end) as discounts,
        -- What a purchase leaves is margin x list price less the discount; of what was paid: margin x paid less (1 - margin) x discount.
        sum(case
            when is_compared
                then
                    treatment_enrolled * (
                        margin * (treatment_revenue_mean - holdout_revenue_mean)
                        - (1.0 - margin) * (treatment_discounts / treatment_enrolled - holdout_discounts / holdout_enrolled)
                    ) - message_cost - fixed_cost
        end) as incremental_profit,
        min(next_window_closes_on) as next_window_closes_on,
        sum(holdout_first_entries) as held_out,
        sum(first_entries) as first_entries,
        sum(first_entries * asked_share) as held_out_expected,
        sum(first_entries * asked_share * (1.0 - asked_share)) as held_out_variance
    from measured
    group by scope, row_program, row_version, row_cohort_month
),

differences as (
    select
        *,
        treatment_share - holdout_share as lift,
        treatment_share - holdout_share - sqrt(below_squared) as lift_low,
        treatment_share - holdout_share + sqrt(above_squared) as lift_high,
        {{ always_valid_half_width('cautious_share_variance', '(treatment_enrolled + holdout_enrolled)') }} as lift_always_width,
        {{ always_valid_half_width('nullif(cautious_revenue_variance, 0)', '(treatment_enrolled + holdout_enrolled)') }}
            as revenue_always_width,
        case
            when treatment_share > 0 and holdout_share > 0
                then
                    {{ z }} * sqrt(
                        treatment_share_variance / (treatment_share * treatment_share)
                        + holdout_share_variance / (holdout_share * holdout_share)
                    )
        end as log_ratio_width,
        {%- for mean in means %}
        treatment_{{ mean }} - holdout_{{ mean }} as {{ mean }}_difference,
        sqrt(nullif({{ mean }}_variance, 0)) as {{ mean }}_error,
        {{ mean }}_variance * {{ mean }}_variance / nullif({{ mean }}_variance_of_variance, 0) as {{ mean }}_df,
        {%- endfor %}
        (held_out - held_out_expected) / sqrt(nullif(held_out_variance, 0)) as sample_ratio_z
    from summed
),

bounded as (
    select
        *,
        {%- for mean in means %}
        {{ t_quantile(mean ~ '_df') }} * {{ mean }}_error as {{ mean }}_width,
        {%- endfor %}
        {{ two_sided_p_value('sample_ratio_z') }} as sample_ratio_p_value
    from differences
)

select
    scope,
    program,
    version,
    cohort_month,
    cast(coalesce(treatment_enrolled, 0) as bigint) as treatment_enrolled,
    cast(coalesce(holdout_enrolled, 0) as bigint) as holdout_enrolled,
    cast(treatment_immature as bigint) as treatment_immature,
    cast(holdout_immature as bigint) as holdout_immature,
    cast(treatment_without_holdout as bigint) as treatment_without_holdout,
    treatment_immature + holdout_immature = 0 as is_mature,
    next_window_closes_on,
    cast(coalesce(treatment_purchased, 0) as bigint) as treatment_purchased,
    cast(coalesce(holdout_purchased, 0) as bigint) as holdout_purchased,
    100.0 * treatment_share as treatment_percentage,
    100.0 * holdout_share as holdout_percentage,
    100.0 * lift as lift_points,
    100.0 * lift_low as lift_low,
    100.0 * lift_high as lift_high,
    100.0 * (lift - lift_always_width) as lift_always_low,
    100.0 * (lift + lift_always_width) as lift_always_high,
    100.0 * lift / nullif(holdout_share, 0) as relative_lift_percentage,
    100.0 * (treatment_share / nullif(holdout_share, 0) * exp(-log_ratio_width) - 1.0) as relative_lift_low,
    100.0 * (treatment_share / nullif(holdout_share, 0) * exp(log_ratio_width) - 1.0) as relative_lift_high,
    treatment_orders as treatment_orders_per_enrolled,
    holdout_orders as holdout_orders_per_enrolled,
    orders_difference,
    orders_difference - orders_width as orders_difference_low,
    orders_difference + orders_width as orders_difference_high,
    treatment_revenue as treatment_revenue_per_enrolled,
    holdout_revenue as holdout_revenue_per_enrolled,
    revenue_difference,
    revenue_difference - revenue_width as revenue_difference_low,
    revenue_difference + revenue_width as revenue_difference_high,
    revenue_difference / revenue_error as revenue_t,
    revenue_df,
    revenue_difference - revenue_always_width as revenue_always_low,
    revenue_difference + revenue_always_width as revenue_always_high,
    100.0 * revenue_difference / nullif(holdout_revenue, 0) as relative_revenue_percentage,
    treatment_enrolled * lift as incremental_customers,
    treatment_enrolled * lift_low as incremental_customers_low,
    treatment_enrolled * lift_high as incremental_customers_high,
    treatment_enrolled * orders_difference as incremental_orders,
    treatment_enrolled * revenue_difference as incremental_revenue,
    treatment_enrolled * (revenue_difference - revenue_width) as incremental_revenue_low,
    treatment_enrolled * (revenue_difference + revenue_width) as incremental_revenue_high,
    cast(coalesce(attributed_orders, 0) as bigint) as attributed_orders,
    cast(coalesce(attributed_revenue, 0) as {{ type_money() }}) as attributed_revenue,
    cast(coalesce(message_cost, 0) as {{ type_money() }}) as message_cost,
    coalesce(fixed_cost, 0.0) as fixed_cost,
    coalesce(discounts, 0.0) as discounts,
    incremental_profit,
    case when lift > 0 then incremental_profit / (treatment_enrolled * lift) end as profit_per_incremental_customer,
    case
        when lift > 0 then (cast(message_cost as {{ type_double() }}) + fixed_cost + discounts) / (treatment_enrolled * lift)
    end as cost_per_incremental_customer,
    100.0 * held_out_expected / nullif(first_entries, 0) as sample_ratio_expected_percent,
    100.0 * held_out / nullif(first_entries, 0) as sample_ratio_actual_percent,
    sample_ratio_p_value,
    -- Where everybody or nobody is to be held out, no luck is in the sizes: one customer in the wrong arm is too many.
    coalesce(
        sample_ratio_p_value >= {{ var('sample_ratio_alert_below') }}, abs(held_out - held_out_expected) < 0.5, true
    ) as sample_ratio_ok
from bounded
