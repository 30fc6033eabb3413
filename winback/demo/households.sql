-- Chance: a number in [0, 1) that depends on the seed and the words given, and on nothing else.
create macro chance(topic, id) as
    ('0x' || substr(md5(getvariable('seed') || '|' || topic || '|' || id), 1, 8))::bigint / 4294967296.0;
create macro pick(choices, topic, id) as choices[1 + floor(chance(topic, id) * len(choices))::integer];

create table baskets as
select
    basket_id::varchar as order_id,
    household_id::varchar as customer_id,
    min(transaction_timestamp) as ordered_at,
    sum(sales_value::decimal(18, 2))::decimal(18, 2) as total,
    sum(coupon_disc::decimal(18, 2)) as coupon_discount
from real_transactions
group by basket_id, household_id;

-- All baskets are of 2017, so nobody in them has been away for a year or more: forty invented former customers are.
create table former_customers as
select 'former-' || lpad(n::varchar, 2, '0') as customer_id, n from range(1, 41) as numbers (n);

create table former_orders as
select
    'former-order-' || lpad(former_customers.n::varchar, 2, '0') || '-' || order_number as order_id,
    former_customers.customer_id,
    date_trunc(
        'second',
        timestamp '2016-11-01 18:00:00'
        - to_days(floor(chance('former last order', former_customers.customer_id) * 300)::integer + (order_number - 1) * 38)
        - to_minutes(floor(chance('former hour', former_customers.customer_id || order_number) * 480)::integer)
    ) as ordered_at,
    order_number
from former_customers, range(1, 6) as numbers (order_number)
where order_number <= 1 + floor(chance('former orders', former_customers.customer_id) * 5);

create table first_seen as
select customer_id, min(ordered_at) as first_ordered_at
from (select customer_id, ordered_at from baskets union all select customer_id, ordered_at from former_orders)
group by customer_id;

create table households as
with named as (
    select
        customer_id,
        row_number() over (order by customer_id) as position,
        pick([
            'Ada', 'Aiko', 'Amara', 'Ana', 'Ben', 'Carla', 'Chen', 'Dana', 'Diego', 'Elif', 'Emma', 'Farid', 'Grace', 'Hana', 'Hugo', 'Ines',
            'Ivan', 'Jada', 'James', 'Joan', 'Kofi', 'Lara', 'Leo', 'Lucia', 'Luis', 'Maya', 'Mei', 'Milan', 'Nadia', 'Noah', 'Nora', 'Omar',
            'Pablo', 'Priya', 'Ravi', 'Rosa', 'Ruth', 'Sam', 'Sara', 'Sofia', 'Tara', 'Theo', 'Uma', 'Vera', 'Will', 'Yara', 'Yusuf', 'Zoe'
        ], 'first name', customer_id) as first_name,
        pick([
            'Adams', 'Baker', 'Bauer', 'Brown', 'Carter', 'Castro', 'Chan', 'Cohen', 'Cruz', 'Diaz', 'Evans', 'Fischer', 'Garcia', 'Gomez',
            'Gray', 'Haddad', 'Hill', 'Ito', 'Jones', 'Kaya', 'Kelly', 'Kim', 'Kowalski', 'Lee', 'Lopez', 'Martin', 'Meyer', 'Moore', 'Nguyen',
            'Novak', 'Okafor', 'Olsen', 'Park', 'Patel', 'Perez', 'Price', 'Reed', 'Rossi', 'Sato', 'Shah', 'Silva', 'Singh', 'Smith', 'Stone',
            'Tanaka', 'Turner', 'Walker', 'Young'
        ], 'last name', customer_id) as last_name,
        first_ordered_at,
        date_trunc('second', first_ordered_at - to_minutes((chance('account age', customer_id) * 700 * 1440)::integer)) as created_at,
        chance('email', customer_id) as email_chance,
        chance('phone', customer_id) as phone_chance,
        chance('app', customer_id) as app_chance,
        chance('reads', customer_id) as reads_chance,
        -- A third of the people lose interest in mails at some time of the year, a third of app users in the app.
        case
            when chance('reading fades', customer_id) < 0.33
                then timestamp '2017-03-01' + to_days((chance('reading fades when', customer_id) * 290)::integer)
        end as stops_reading_at,
        case
            when chance('use fades', customer_id) < 0.33
                then timestamp '2017-04-01' + to_days((chance('use fades when', customer_id) * 260)::integer)
        end as stops_using_at
    from first_seen
),

addressed as (
    select *, lower(first_name || '.' || last_name || '.' || replace(customer_id, '-', '')) || '@example.com' as own_email
    from named
)

select
    addressed.*,
    case
        when email_chance < 0.03 then null
        when email_chance < 0.045 then replace(own_email, '@', '.at.')
        when email_chance < 0.05 then replace(own_email, '.com', '')
        -- The same person under two loyalty cards: the address of the one before, sometimes in capitals.
        when email_chance < 0.085 then
            case when chance('capitals', customer_id) < 0.3 then upper(lag(own_email, 1, own_email) over (order by position))
            else lag(own_email, 1, own_email) over (order by position) end
        else own_email
    end as email,
    case
        when phone_chance < 0.27 then null
        when phone_chance < 0.29 then '555-0' || (100 + position % 100)
        -- 555-0100 to 555-0199 are reserved for fiction in every area code.
        else '+1' || ([
            202, 205, 206, 212, 213, 214, 215, 216, 301, 303, 305, 312, 313, 314, 316, 402, 404, 405, 412, 415, 501, 502, 503, 504, 505, 512, 513, 515, 602
        ])[1 + (position // 100) % 29] || '5550' || (100 + position % 100)
    end as phone,
    pick([
        'America/New_York', 'America/New_York', 'America/New_York', 'America/New_York', 'America/Chicago', 'America/Chicago', 'America/Chicago',
        'America/Denver', 'America/Los_Angeles', 'America/Los_Angeles'
    ], 'timezone', addressed.customer_id) as timezone,
    case when chance('language', addressed.customer_id) < 0.08 then 'es' else 'en' end as language,
    app_chance < 0.45 as has_app
from addressed;

create table customers as
select
    households.customer_id,
    households.email,
    households.phone,
    households.first_name,
    households.last_name,
    'US' as country,
    households.timezone,
    households.language,
    null::varchar as brand,
    households.created_at,
    demographics.age as age_band,
    demographics.income as income_band,
    demographics.household_size
from households
left join real_demographics as demographics on demographics.household_id::varchar = households.customer_id;
