{%- set thresholds = var("winback_thresholds_days") -%}

with thresholds as (
    {%- for days in thresholds %}
    select {{ days }} as lapse_threshold_days
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

order_days as (
    select
        customer_id,
        previous_ordered_on,
        ordered_on,
        {{ days_between("previous_ordered_on", "ordered_on") }} as gap_days
    from {{ ref('int_orders__order_days') }}
),

-- A pause is the time from one order day to the next; the last one of a customer is still open.
pauses as (
    select
        customer_id,
        previous_ordered_on as began_on,
        ordered_on as ended_on,
        gap_days
    from order_days
    where gap_days >= {{ thresholds | min }}

    union all

    select
        customer_id,
        last_ordered_on as began_on,
        cast(null as date) as ended_on,
        cast(null as integer) as gap_days
    from {{ ref('int_customers__rhythm_measured') }}
),

lapses as (
    select
        thresholds.lapse_threshold_days,
        pauses.customer_id,
        pauses.gap_days,
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
        count(*) as customers
    from lapses
    group by 1, 2, 3
),

returned as (
    select
        lapse_threshold_days,
        ended_in as month,
        count(*) as returns,
        count(distinct customer_id) as returned_customers
    from lapses
    where gap_days > lapse_threshold_days
    group by lapse_threshold_days, ended_in
),

bounds as (
    select min(first_ordered_on) as first_ordered_on
    from {{ ref('int_customers__rhythm_measured') }}
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
    cast(coalesce(returned.returned_customers, 0) as integer) as returned_customers,
    {{ months_after("opened.month", 1) }} as window_closes_on,
    {{ months_after("opened.month", 1) }} <= {{ as_of_date() }} as is_mature
from opened
left join returned
    on opened.month = returned.month and opened.lapse_threshold_days = returned.lapse_threshold_days
