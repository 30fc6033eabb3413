{%- set thresholds = var("winback_thresholds_days") -%}

with thresholds as (
    {%- for days in thresholds %}
    select {{ days }} as lapse_threshold_days
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

-- A pause is the time from one order day to the next; the last one of a customer is still open. Pauses of the same dates are counted together.
pauses as (
    select
        previous_ordered_on as began_on,
        ordered_on as ended_on,
        {{ days_between("previous_ordered_on", "ordered_on") }} as gap_days,
        count(*) as customers
    from {{ ref('int_orders__order_days') }}
    where {{ days_between("previous_ordered_on", "ordered_on") }} >= {{ thresholds | min }}
    group by previous_ordered_on, ordered_on

    union all

    select
        last_ordered_on as began_on,
        cast(null as date) as ended_on,
        cast(null as integer) as gap_days,
        count(*) as customers
    from {{ ref('int_customers__profiled') }}
    where last_ordered_on is not null
    group by last_ordered_on
),

lapses as (
    select
        thresholds.lapse_threshold_days,
        pauses.gap_days,
        pauses.customers,
        {{ days_after("pauses.began_on", "thresholds.lapse_threshold_days") }} as lapsed_on,
        {{ month_start("pauses.ended_on") }} as ended_in
    from pauses
    inner join thresholds on pauses.gap_days is null or pauses.gap_days >= thresholds.lapse_threshold_days
),

-- By the first month that opens with the customer lapsed and the month of the return, few rows are left for the months to add up.
counted as (
    select
        lapse_threshold_days,
        case
            when {{ month_start("lapsed_on") }} = lapsed_on then lapsed_on
            else {{ months_after(month_start("lapsed_on"), 1) }}
        end as lapsed_from_month,
        ended_in,
        sum(customers) as customers
    from lapses
    group by 1, 2, 3
),

returned as (
    select
        lapse_threshold_days,
        ended_in as month,
        sum(customers) as returns
    from lapses
    where gap_days > lapse_threshold_days
    group by lapse_threshold_days, ended_in
),

-- After more than 30 days a customer can return only once in a month.
returned_often as (
    select
        thresholds.lapse_threshold_days,
        {{ month_start("order_days.ordered_on") }} as month,
        count(distinct order_days.customer_id) as customers
    from {{ ref('int_orders__order_days') }} as order_days
    inner join thresholds
        on
            thresholds.lapse_threshold_days < 30
            and {{ days_between("order_days.previous_ordered_on", "order_days.ordered_on") }} > thresholds.lapse_threshold_days
    group by thresholds.lapse_threshold_days, {{ month_start("order_days.ordered_on") }}
),

bounds as (
    select min(first_ordered_on) as first_ordered_on
    from {{ ref('int_customers__profiled') }}
),

months as (
    {{ months_spanned("(select first_ordered_on from bounds)", as_of_date()) }}
),

opened as (
    select
        months.month,
        thresholds.lapse_threshold_days,
        cast(coalesce(sum(counted.customers), 0) as integer) as lapsed_customers,
        cast(coalesce(sum(case when counted.ended_in = months.month then counted.customers end), 0) as integer) as won_back_customers
    from months
    cross join thresholds
    left join counted
        on
            thresholds.lapse_threshold_days = counted.lapse_threshold_days
            and counted.lapsed_from_month <= months.month
            and (counted.ended_in is null or counted.ended_in >= months.month)
    where cast(months.month as timestamp) < {{ as_of() }}
    group by months.month, thresholds.lapse_threshold_days
)

select
    opened.month,
    opened.lapse_threshold_days,
    opened.lapsed_customers,
    opened.won_back_customers,
    100 * cast(opened.won_back_customers as {{ type_double() }}) / nullif(opened.lapsed_customers, 0) as win_back_percentage,
    cast(coalesce(returned.returns, 0) as integer) as returns,
    cast(coalesce(returned_often.customers, returned.returns, 0) as integer) as returned_customers,
    {{ months_after("opened.month", 1) }} as window_closes_on,
    {{ months_after("opened.month", 1) }} <= {{ as_of_date() }} as is_mature
from opened
left join returned
    on opened.month = returned.month and opened.lapse_threshold_days = returned.lapse_threshold_days
left join returned_often
    on opened.month = returned_often.month and opened.lapse_threshold_days = returned_often.lapse_threshold_days
