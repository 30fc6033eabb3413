{%- do free_memory_of_removed_rows() -%}
{#- What customers of a kind have in common. -#}
{%- set kind = ["country", "brand", "lifetime_spend_band", "lifetime_spend_band_from", "sales_channel"] -%}
{%- for channel in contact_channels() -%}{%- do kind.append("reachable_" ~ channel) -%}{%- endfor -%}

-- A customer has a row for each sales channel of the past year, at least one; the first of them is counted.
with profiles as (
    select
        customers.customer_id,
        {{ or_none('customers.country') }} as country,
        {{ or_none('customers.brand') }} as brand,
        {{ spend_band('customers.lifetime_value', 'customers.order_count') }} as lifetime_spend_band,
        {{ spend_band_from('customers.lifetime_value', 'customers.order_count') }} as lifetime_spend_band_from,
        {%- for channel in contact_channels() %}
        customers.reachable_{{ channel }},
        {%- endfor %}
        past_year.sales_channel,
        coalesce(past_year.orders, 0) as orders,
        coalesce(past_year.revenue, 0) as revenue,
        case when coalesce(past_year.channel_no, 1) = 1 then 1 else 0 end as customers
    from {{ ref('customers') }} as customers
    left join {{ ref('int_orders__past_year_by_channel') }} as past_year on customers.customer_id = past_year.customer_id
),

-- Few rows are left of each audience for the sections to add up.
grouped as (
    select
        members.audience,
        profiles.{{ kind | join(",
        profiles.") }},
        count(*) as channel_customers,
        sum(profiles.customers) as customers,
        sum(profiles.orders) as orders,
        sum(profiles.revenue) as revenue
    from {{ ref('int_audiences__members') }} as members
    inner join profiles on members.customer_id = profiles.customer_id
    group by
        members.audience,
        profiles.{{ kind | join(",
        profiles.") }}

    union all

    select
        '(all customers)' as audience,
        {{ kind | join(",
        ") }},
        count(*) as channel_customers,
        sum(customers) as customers,
        sum(orders) as orders,
        sum(revenue) as revenue
    from profiles
    group by
        {{ kind | join(",
        ") }}
),

sections as (
    select audience, 'total' as section, 'all' as value, 1 as position, customers, orders, revenue
    from grouped
    {%- for channel in contact_channels() %}
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
