with enrolments as (
    select
        resolved.*,
        versions.measure_window_days,
        {{ same_code('versions.offer_code') }} as offer_code,
        cast(versions.offer_percent as {{ type_double() }}) as offer_percent,
        cast(resolved.enrolled_at as date) as enrolled_on,
        cast({{ dbt.dateadd('day', 'versions.measure_window_days', 'resolved.enrolled_at') }} as timestamp) as window_closes_at
    from {{ ref('int_journeys__enrolments_resolved') }} as resolved
    left join {{ ref('stg_programs__versions') }} as versions
        on resolved.program = versions.program and resolved.version = versions.version
),

sent as (
    select
        enrolment_id,
        count(*) as messages,
        sum(cost) as message_cost
    from {{ ref('fct_messages') }}
    where sent_at is not null
    group by enrolment_id
),

-- Codes by which a purchase shows what it owes to this journey: the program's own, which the holdout may find elsewhere, and single-use ones.
codes as (
    select
        enrolment_id,
        offer_code
    from enrolments
    where offer_code is not null

    union

    select
        enrolment_id,
        {{ same_code('offer_code') }} as offer_code
    from {{ ref('fct_messages') }}
    where offer_code is not null
),

purchases as (
    select
        enrolments.enrolment_id,
        min(orders.ordered_on) as first_ordered_on,
        count(case when orders.ordered_at < enrolments.window_closes_at then 1 end) as orders,
        sum(case when orders.ordered_at < enrolments.window_closes_at then orders.net_value end) as revenue,
        sum(
            case
                when orders.ordered_at < enrolments.window_closes_at and codes.enrolment_id is not null then orders.net_value
            end
        ) as coupon_revenue
    from enrolments
    inner join {{ ref('int_orders__purchases') }} as orders
        on enrolments.customer_id = orders.customer_id and orders.ordered_at >= enrolments.enrolled_at
    left join codes
        on enrolments.enrolment_id = codes.enrolment_id and {{ same_code('orders.coupon_code') }} = codes.offer_code
    group by enrolments.enrolment_id
),

attributed as (
    select
        enrolment_id,
        count(*) as orders,
        sum(net_value) as revenue
    from {{ ref('order_attribution') }}
    where is_last_touch_program_window
    group by enrolment_id
),

entries as (
    select
        enrolment_id,
        channel
    from {{ ref('stg_ledger__steps') }}
    where step_no = {{ var('first_step_no') }}
)

select
    enrolments.enrolment_id,
    enrolments.program || '|' || cast(enrolments.version as {{ type_text() }}) as program_version_id,
    enrolments.program,
    enrolments.version,
    enrolments.customer_id,
    {{ or_none('customers.brand') }} as brand,
    {{ or_none('customers.country') }} as country,
    enrolments.arm,
    {{ or_none('entries.channel') }} as entry_channel,
    cast(
        row_number() over (
            partition by enrolments.program, enrolments.customer_id
            order by enrolments.enrolled_at, enrolments.enrolment_id
        ) as integer
    ) as entry_no,
    enrolments.enrolled_at,
    enrolments.enrolled_on,
    {{ week_start('enrolments.enrolled_on') }} as cohort_week,
    {{ month_start('enrolments.enrolled_on') }} as cohort_month,
    enrolments.measure_window_days as window_days,
    enrolments.window_closes_at,
    coalesce(enrolments.window_closes_at <= {{ as_of() }}, false) as is_mature,
    enrolments.status,
    enrolments.exit_reason,
    coalesce(enrolments.exited_at, enrolments.completed_at) as ended_at,
    enrolments.step_count,
    enrolments.steps_done,
    case when not enrolments.is_waiting then enrolments.next_step_no end as next_step_no,
    coalesce(purchases.orders, 0) > 0 as purchased,
    cast(coalesce(purchases.orders, 0) as integer) as orders,
    cast(coalesce(purchases.revenue, 0) as {{ type_money() }}) as revenue,
    cast(coalesce(purchases.coupon_revenue, 0) as {{ type_double() }})
    * coalesce(enrolments.offer_percent / nullif(100.0 - enrolments.offer_percent, 0), 0) as discounts,
    {{ days_between('enrolments.enrolled_on', 'purchases.first_ordered_on') }} as days_to_purchase,
    cast(coalesce(sent.messages, 0) as integer) as messages,
    cast(
        coalesce(sent.message_cost, 0)
        + case when enrolments.arm = 'treatment' then coalesce(own_costs.amount, costs.amount, 0) else 0 end as {{ type_money() }}
    ) as message_cost,
    cast(coalesce(attributed.orders, 0) as integer) as attributed_orders,
    cast(coalesce(attributed.revenue, 0) as {{ type_money() }}) as attributed_revenue
from enrolments
left join purchases on enrolments.enrolment_id = purchases.enrolment_id
left join sent on enrolments.enrolment_id = sent.enrolment_id
left join attributed on enrolments.enrolment_id = attributed.enrolment_id
left join entries on enrolments.enrolment_id = entries.enrolment_id
left join {{ ref('customers') }} as customers on enrolments.customer_id = customers.customer_id
left join {{ ref('costs') }} as own_costs on enrolments.program = own_costs.program and own_costs.item = 'journey'
left join {{ ref('costs') }} as costs on costs.program = '*' and costs.item = 'journey'
