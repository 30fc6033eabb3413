-- The eight raw tables of a made-up shop over three years, drawn by whole-number arithmetic: the same rows on every machine and version.
-- Variables: customers (how many), seed, first_day and last_instant (timestamps; rows lie between them, so a few may lie after the as_of).
--
-- Customers are numbered in the order in which they became known. An event at a time goes to someone known by then, more often to one who
-- came lately or is loyal, so that older customers lapse by themselves. Events are written in the order of time, as they would have landed.

-- A number from 0 to 2^32 - 1 for row n and purpose `salt`: the middle of the square of a Weyl sequence.
create or replace temp macro weyl(n, salt) as
    (cast(n as ubigint) * 2654435761::ubigint + cast((salt + getvariable('seed') * 101) * 1640531527::bigint % 4294967296 as ubigint)) & 4294967295::ubigint;
create or replace temp macro draw(n, salt) as cast(((weyl(n, salt) * (weyl(n, salt) | 1::ubigint)) >> 16::ubigint) & 4294967295::ubigint as bigint);
create or replace temp macro percent(n, salt) as draw(n, salt) % 10000 * 0.01::double;
create or replace temp macro share(n, salt) as draw(n, salt) * (1 / 4294967297::double);

create or replace temp macro span_seconds() as cast(epoch(getvariable('last_instant')) - epoch(getvariable('first_day')) as bigint);
create or replace temp macro time_of(row_no, row_count) as
    getvariable('first_day') + to_seconds(cast(row_no * span_seconds() // row_count as bigint));

-- A third of the customers was known when the three years began.
create or replace temp macro known_at(row_no, row_count) as getvariable('customers') * (0.35::double + 0.65::double * row_no / row_count);
create or replace temp macro known_on(customer_no) as
    case
        when customer_no < 0.35 * getvariable('customers')
            then getvariable('first_day') - to_hours(cast(24 * 730 * (1 - customer_no / (0.35 * getvariable('customers'))) as bigint) + 1)
        else getvariable('first_day')
            + to_seconds(cast((customer_no / getvariable('customers') - 0.35) / 0.65 * (span_seconds() - 172800) as bigint))
    end;

-- Someone known by then; every fifth customer is loyal and does almost half of all there is to do.
create or replace temp macro anyone(row_no, row_count, salt) as cast(floor(known_at(row_no, row_count) * (1 - pow(share(row_no, salt), 2))) as bigint);
create or replace temp macro actor(anyone, row_no, salt) as anyone - case when percent(row_no, salt) < 45 then anyone % 5 else 0 end;

create or replace temp macro customer_id(customer_no) as 'c' || lpad(cast(customer_no as varchar), 8, '0');
-- One in forty shares the mailbox of the customer before.
create or replace temp macro mailbox(customer_no) as
    'customer' || (customer_no - case when customer_no % 40 = 39 then 1 else 0 end) || '@example.com';
-- +999 is assigned to no country: numbers enough for everybody, and none of them anybody's.
create or replace temp macro phone(customer_no) as
    '+999' || lpad(cast(customer_no - case when customer_no % 60 = 59 then 1 else 0 end as varchar), 9, '0');

insert into raw.customers
select
    customer_id(n),
    case
        when percent(n, 1) < 4 then null
        when percent(n, 1) < 5 then 'no mailbox'
        when percent(n, 1) < 10 then ' ' || upper(mailbox(n))
        else mailbox(n)
    end,
    case when percent(n, 2) < 55 then phone(n) when percent(n, 2) < 57 then '020 1234' end,
    list_value('Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Radia', 'Ken')[draw(n, 3) % 8 + 1],
    'Example',
    list_value('US', 'GB', 'DE', 'FR', 'NL')[draw(n, 4) % 5 + 1],
    list_value('America/New_York', 'Europe/London', 'Europe/Berlin', 'Europe/Paris', 'Europe/Amsterdam')[draw(n, 4) % 5 + 1],
    list_value('en', 'en', 'de', 'fr', 'nl')[draw(n, 4) % 5 + 1],
    'Example Shop',
    known_on(n),
    null,
    'generated',
    n + 1
from range(getvariable('customers')) as numbers (n);

insert into raw.products
select
    'p' || n,
    'Product ' || n,
    list_value('consumables', 'cosmetics', 'apparel', 'furniture', 'Toys', null)[draw(n, 5) % 6 + 1],
    cast(5 + draw(n, 6) % 20000 / 100.0 as decimal(18, 4)),
    getvariable('first_day') - to_days(30),
    'https://shop.example.com/products/' || n,
    'https://shop.example.com/products/' || n || '.jpg',
    'generated',
    n + 1
from range(2000) as numbers (n);

create or replace temp macro order_count() as getvariable('customers') * 10;

insert into raw.orders
with placed as (
    -- Every twentieth order is split off the one before: same customer, same day as a rule.
    select n, n - case when n % 20 = 19 then 1 else 0 end as basket_no
    from range(order_count()) as numbers (n)
),

drawn as (
    select
        n,
        basket_no,
        anyone(basket_no, order_count(), 10) as anyone,
        percent(n, 12) as fate,
        cast(5 + draw(n, 13) % 20000 / 100.0 as decimal(18, 4)) as total
    from placed
),

bought as (
    select *, actor(anyone, basket_no, 11) as customer_no from drawn
)

select
    'o' || n,
    -- One in a hundred was sold to nobody known; one customer in ten only looks.
    case when n % 100 <> 57 then customer_id(customer_no + case when customer_no % 10 = 7 then 1 else 0 end) end,
    time_of(n, order_count()),
    case when fate < 2.5 then 'cancelled' when fate < 3 then 'voided' when fate < 30 then 'fulfilled' else 'paid' end,
    total,
    case when fate between 3 and 5 then total when fate between 5 and 8 then cast(total / 2 as decimal(18, 4)) else 0 end,
    'USD',
    case when percent(n, 14) < 5 then 'WELCOME10' end,
    case when percent(n, 15) < 80 then 'web' else 'store' end,
    'generated',
    n + 1
from bought;

-- One line an order, and a second in every fifth.
insert into raw.order_lines
select
    'o' || n // 6 * 5 + least(n % 6, 4),
    case when n % 6 = 5 then 2 else 1 end,
    'p' || draw(n, 20) % 2000,
    1 + draw(n, 21) % 3,
    cast(5 + draw(n, 22) % 5000 / 100.0 as decimal(18, 4)),
    'generated',
    n + 1
from range(order_count() * 6 // 5) as numbers (n);

-- Five events are the lives of two messages: both sent, both delivered or bounced, and what came of the first.
create or replace temp macro event_count() as getvariable('customers') * 30;

insert into raw.message_events
with placed as (
    select
        n,
        n % 5 as place,
        n - n % 5 + case when n % 5 in (2, 3) then 2 else 0 end as message_no
    from range(event_count()) as numbers (n)
),

drawn as (
    select
        n,
        place,
        message_no,
        anyone(message_no, event_count(), 30) as anyone,
        percent(message_no, 32) as channel_draw,
        percent(n, 33) as fate
    from placed
),

written as (
    select *, actor(anyone, message_no, 31) as customer_no from drawn
),

-- One mailbox in thirty is dead in the last year.
answered as (
    select *, customer_no % 30 = 3 and channel_draw < 76 and message_no > event_count() * 0.67 as is_dead from written
)

select
    'e' || n,
    -- Some systems name only the mailbox.
    case when message_no % 50 <> 35 or channel_draw >= 76 then customer_id(customer_no) end,
    case when message_no % 50 = 35 and channel_draw < 76 then mailbox(customer_no) end,
    case when channel_draw < 76 then 'email' when channel_draw < 90 then 'push' else 'sms' end,
    case
        when place in (0, 2) then 'sent'
        when is_dead then 'bounced'
        when place in (1, 3) then case when fate < 2 then 'bounced' else 'delivered' end
        when fate < 78 then 'opened'
        when fate < 96 then 'clicked'
        when fate < 98 then 'replied'
        when fate < 99.7 then 'unsubscribed'
        else 'complained'
    end,
    time_of(n, event_count()),
    'newsletter ' || message_no * 156 // event_count(),
    place = 4 and (fate < 35 or fate between 78 and 84),
    'generated',
    n + 1
from answered;

create or replace temp macro activity_count() as getvariable('customers') * 7;

insert into raw.activity_events
with drawn as (
    select n, anyone(n, activity_count(), 40) as anyone, percent(n, 42) as kind
    from range(activity_count()) as numbers (n)
)

select
    'a' || n,
    customer_id(actor(anyone, n, 41)),
    case when kind < 70 then 'visit' when kind < 85 then 'login' else 'action' end,
    time_of(n, activity_count()),
    'generated',
    n + 1
from drawn;

-- Consents as given at the beginning, some withdrawn and some given anew later on.
insert into raw.consents
with channels as (
    select unnest(['email', 'sms', 'push', 'ads']) as channel, unnest([50, 51, 52, 53]) as salt, unnest([78, 35, 30, 45]) as granted_percent
),

given as (
    select n, channel, salt, known_on(n) as known_on
    from range(getvariable('customers')) as numbers (n)
    cross join channels
    where percent(n, salt) < granted_percent
),

changes as (
    select n, channel, known_on as changed_at, true as granted from given
    union all
    select n, channel, known_on + to_hours(cast(draw(n, salt + 10) % 9000 as bigint)), false from given where percent(n, salt + 10) < 9
    union all
    select n, channel, known_on + to_hours(cast(9000 + draw(n, salt + 20) % 9000 as bigint)), true from given where percent(n, salt + 10) < 2
)

select
    customer_id(n),
    channel,
    changed_at,
    granted,
    'checkout',
    'generated',
    row_number() over (order by changed_at, n, channel, granted)
from changes
where changed_at < getvariable('last_instant')
order by changed_at, n, channel, granted;

-- A third has a device; some have two, and some gave one up.
insert into raw.devices
with owned as (
    select n, device_no, known_on(n) + to_hours(cast(draw(n, 70 + device_no) % 9000 as bigint)) as updated_at
    from range(getvariable('customers')) as numbers (n)
    cross join range(2) as devices (device_no)
    where (device_no = 0 and percent(n, 72) < 33) or (device_no = 1 and percent(n, 72) < 6)
)

select
    'token' || n || '-' || device_no,
    customer_id(n),
    case when percent(n, 73) < 55 then 'ios' else 'android' end,
    percent(n, 74 + device_no) >= 12,
    updated_at,
    'generated',
    row_number() over (order by updated_at, n, device_no)
from owned
where updated_at < getvariable('last_instant')
order by updated_at, n, device_no;

insert into raw.source_notes values ('Everything here is generated: no customer, order or message is real.');
