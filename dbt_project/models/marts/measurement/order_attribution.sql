{%- set windows = [24, 72, 120] -%}

with messages as (
    select * from {{ ref('fct_messages') }}
    where sent_at is not null
),

versions as (
    select
        program,
        version,
        attribution_hours
    from {{ ref('stg_programs__versions') }}
),

-- One window for all touches: the last touch within any program's own window is the last of all programs'.
longest_window as (
    select {{ greatest_known(["max(attribution_hours)", var("attribution_longest_days") * 24]) }} as hours from versions
),

-- Without any touch no order is after the first: of the orders none need be read.
first_touch as (
    select coalesce(min(sent_at), {{ as_of() }}) as touched_at from messages
    where is_touch
),

orders as (
    select purchases.*
    from {{ ref('int_orders__purchases') }} as purchases
    cross join first_touch
    where purchases.ordered_at >= first_touch.touched_at
),

pairs as (
    select
        orders.order_id,
        orders.ordered_at,
        orders.coupon_code,
        messages.message_id,
        messages.enrolment_id,
        messages.program,
        messages.version,
        messages.step_no,
        messages.channel,
        messages.content,
        messages.offer_code,
        messages.sent_at,
        messages.read_at,
        messages.clicked_at,
        {{ hours_between('messages.sent_at', 'orders.ordered_at') }} as hours_since_touch
    from orders
    inner join messages on orders.customer_id = messages.customer_id and orders.ordered_at >= messages.sent_at
    where messages.is_touch
),

touches as (
    select
        pairs.*,
        versions.attribution_hours,
        row_number() over (
            partition by pairs.order_id
            order by pairs.sent_at desc, pairs.message_id asc
        ) as touch_no
    from pairs
    cross join longest_window
    left join versions on pairs.program = versions.program and pairs.version = versions.version
    where pairs.hours_since_touch < longest_window.hours
),

redemptions as (
    select
        orders.order_id,
        messages.program,
        row_number() over (
            partition by orders.order_id
            order by messages.sent_at desc, messages.message_id asc
        ) as newest
    from orders
    inner join messages
        on
            orders.customer_id = messages.customer_id
            and {{ same_code('orders.coupon_code') }} = {{ same_code('messages.offer_code') }}
            and orders.ordered_at >= messages.sent_at
    where orders.coupon_code is not null
)

select
    orders.order_id,
    orders.customer_id,
    {{ or_none('customers.brand') }} as brand,
    orders.ordered_at,
    orders.ordered_on,
    orders.net_value,
    {{ or_none('orders.sales_channel') }} as sales_channel,
    orders.coupon_code,
    coalesce(touches.touch_no, 1) = 1 as is_order_row,
    touches.message_id,
    touches.enrolment_id,
    touches.program,
    touches.version,
    touches.step_no,
    touches.channel,
    touches.content,
    touches.sent_at as touched_at,
    touches.hours_since_touch,
    cast(touches.touch_no as integer) as touch_no,
    -- The latest touch is the youngest: if a window reaches back to any touch, this is the last one in it.
    coalesce(touches.touch_no = 1, false) as is_last_touch,
    {%- for hours in windows %}
    coalesce(touches.touch_no = 1 and touches.hours_since_touch < {{ hours }}, false) as is_last_touch_{{ hours }}h,
    {%- endfor %}
    coalesce(touches.touch_no = 1 and touches.hours_since_touch < touches.attribution_hours, false) as is_last_touch_program_window,
    coalesce(touches.read_at <= orders.ordered_at, false) as was_read,
    coalesce(touches.clicked_at <= orders.ordered_at, false) as was_clicked,
    coalesce({{ same_code('orders.coupon_code') }} = {{ same_code('touches.offer_code') }}, false) as coupon_match,
    redemptions.program as redeemed_program
from orders
left join touches on orders.order_id = touches.order_id
left join redemptions on orders.order_id = redemptions.order_id and redemptions.newest = 1
left join {{ ref('customers') }} as customers on orders.customer_id = customers.customer_id
