{%- set channels = ['email', 'sms', 'push', 'ads'] -%}

with customers as (
    select
        customers.*,
        {{ spend_band('customers.lifetime_value', 'customers.order_count') }} as lifetime_spend_band,
        {{ spend_band_from('customers.lifetime_value', 'customers.order_count') }} as lifetime_spend_band_from
    from {{ ref('customers') }} as customers
),

recent_orders as (
    select
        customer_id,
        {{ or_none('sales_channel') }} as sales_channel,
        count(*) as orders,
        sum(net_value) as revenue
    from {{ ref('int_orders__purchases') }}
    where ordered_on > {{ days_after(as_of_date(), -var('recent_spend_days')) }}
    group by customer_id, {{ or_none('sales_channel') }}
),

-- A customer has a row for each sales channel of the past year, at least one; the first of them is counted.
profiles as (
    select
        customers.*,
        channels.sales_channel,
        coalesce(channels.orders, 0) as orders,
        coalesce(channels.revenue, 0) as revenue,
        case when coalesce(channels.channel_no, 1) = 1 then 1 else 0 end as customers
    from customers
    left join (
        select
            *,
            row_number() over (partition by customer_id order by sales_channel) as channel_no
        from recent_orders
    ) as channels
        on customers.customer_id = channels.customer_id
),

members as (
    select
        audience,
        customer_id
    from {{ ref('int_audiences__members') }}

    union all

    select
        '(all customers)' as audience,
        customer_id
    from customers
),

-- Few rows are left of each audience for the sections to add up.
grouped as (
    select
        members.audience,
        {{ or_none('profiles.country') }} as country,
        {{ or_none('profiles.brand') }} as brand,
        profiles.lifetime_spend_band,
        profiles.lifetime_spend_band_from,
        {%- for channel in channels %}
        profiles.reachable_{{ channel }},
        {%- endfor %}
        profiles.sales_channel,
        count(profiles.sales_channel) as channel_customers,
        sum(profiles.customers) as customers,
        sum(profiles.orders) as orders,
        sum(profiles.revenue) as revenue
    from members
    inner join profiles on members.customer_id = profiles.customer_id
    group by
        members.audience,
        {{ or_none('profiles.country') }},
        {{ or_none('profiles.brand') }},
        {%- for channel in channels %}
        profiles.reachable_{{ channel }},
        {%- endfor %}
        profiles.lifetime_spend_band,
        profiles.lifetime_spend_band_from,
        profiles.sales_channel
),

sections as (
    select audience, 'total' as section, 'all' as value, 1 as position, customers, orders, revenue
    from grouped
    {%- for channel in channels %}
    union all
    select audience, 'reachable' as section, '{{ channel }}' as value, {{ loop.index }} as position, customers, orders, revenue
    from grouped
    where reachable_{{ channel }}
    {%- endfor %}
    union all
    select
        audience,
        'lifetime_spend_band' as section,
        lifetime_spend_band as value,
        coalesce(lifetime_spend_band_from, -1) as position,
        customers,
        orders,
        revenue
    from grouped
    union all
    select audience, 'country' as section, country as value, 1 as position, customers, orders, revenue
    from grouped
    union all
    select audience, 'brand' as section, brand as value, 1 as position, customers, orders, revenue
    from grouped
    union all
    select audience, 'sales_channel' as section, sales_channel as value, 1 as position, channel_customers as customers, orders, revenue
    from grouped
    where sales_channel is not null
),

summed as (
    select
        audience,
        section,
        value,
        position,
        sum(customers) as customers,
        sum(orders) as orders,
        sum(revenue) as revenue
    from sections
    group by audience, section, value, position
),

sizes as (
    select
        audience,
        sum(customers) as customers
    from grouped
    group by audience
)

select
    summed.audience,
    summed.section,
    summed.value,
    cast(
        row_number() over (
            partition by summed.audience, summed.section
            order by summed.position asc, summed.customers desc, summed.value asc
        ) as integer
    ) as position,
    cast(summed.customers as bigint) as customers,
    100.0 * cast(summed.customers as {{ type_double() }}) / sizes.customers as customers_percentage,
    cast(summed.orders as bigint) as orders_past_year,
    cast(summed.revenue as {{ type_money() }}) as revenue_past_year
from summed
inner join sizes on summed.audience = sizes.audience
