-- What delivery reads of the warehouse, for :customers customers who are all due one message and one ad audience.
-- Addresses are reserved for examples; names are as long as people's.
insert into intermediate.int_customers__contacts (customer_id, email, phone, first_name, last_name, country, timezone, language, push_token,
    reachable_email, reachable_sms, reachable_push, reachable_ads)
select 'customer-' || i, 'firstname.lastname' || i || '@example.com', '+1555' || lpad((1000000 + i)::varchar, 7, '0'),
    ['Ada', 'Grace', 'Katherine', 'Zoë', 'Hedy', 'Mary'][1 + i % 6], ['Byron', 'Hopper', 'Johnson', 'Lamarr', 'Somerville'][1 + i % 5],
    'US', 'UTC', 'en', md5('token-a-' || i) || ':APA91b' || md5('token-b-' || i) || md5('token-c-' || i) || md5('token-d-' || i),
    true, true, true, true
from range(getvariable('customers')) as numbers(i);

insert into marts.customers
select 'customer-' || i, 60 + i % 300, 2 + i % 20, ['Coffee and tea', 'Snacks', 'Pet food'][1 + i % 3], 20 + i % 900,
    getvariable('as_of') - interval 60 day, 'at_risk', 'active'
from range(getvariable('customers')) as numbers(i);

insert into raw.consents
select 'customer-' || i, channel, getvariable('as_of') - interval 100 day, true, 'form'
from range(getvariable('customers')) as numbers(i), (values ('email'), ('sms'), ('push'), ('ads')) as channels(channel);

insert into marts.journey_admissions
select getvariable('as_of'), getvariable('program'), getvariable('version'), 'customer-' || i, getvariable('as_of') - interval 60 day,
    'past_own_cycle', md5('enrolment-' || i), 'treatment', 'admitted', null
from range(getvariable('customers')) as numbers(i);

insert into marts.journey_actions
select getvariable('as_of'), md5('step-' || i), md5('message-' || i), md5('enrolment-' || i), getvariable('program'), getvariable('version'),
    'customer-' || i, 'treatment', 1, case when getvariable('channel') = 'task' then 'task' else 'send' end, getvariable('content'),
    getvariable('channel'), getvariable('as_of')::date, case when getvariable('channel') = 'task' then 'task' else 'send' end, null,
    getvariable('as_of')::date + 3
from range(getvariable('customers')) as numbers(i);

insert into marts.ad_audience_members
select 'meta', getvariable('program'), 'customer-' || i, md5('enrolment-' || i)
from range(case when getvariable('with_ads') then getvariable('customers') else 0 end) as numbers(i);
