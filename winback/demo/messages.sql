-- Newsletters go out every other Tuesday; each of the real campaigns mails its real households three times.
create table mailings as
select 'newsletter-' || strftime(day, '%Y-%m-%d') as campaign, null::varchar as customer_id, day + interval 15 hour as sent_at
from (select unnest(range(timestamp '2017-01-03', timestamp '2018-01-01', interval 14 day)) as day)
union all
select
    'campaign-' || campaigns.campaign_id,
    campaigns.household_id::varchar,
    descriptions.start_date + to_days(wave * 10) + interval 14 hour
from real_campaigns as campaigns
inner join real_campaign_descriptions as descriptions on campaigns.campaign_id = descriptions.campaign_id
cross join range(3) as waves (wave)
where descriptions.start_date + to_days(wave * 10) >= timestamp '2017-01-01'
    and descriptions.start_date + to_days(wave * 10) < timestamp '2018-01-01';

create table email_permissions as
select customer_id, changed_at as starts_at, granted, lead(changed_at, 1, timestamp '9999-01-01') over (partition by customer_id order by changed_at) as ends_at
from consents
where channel = 'email';

create table sends as
with permitted as (
    select
        households.customer_id,
        households.email,
        households.reads_chance,
        households.stops_reading_at,
        mailings.campaign,
        mailings.sent_at + to_seconds((chance('send minute ' || mailings.campaign, households.customer_id) * 1800)::integer) as sent_at
    from mailings
    inner join households on coalesce(mailings.customer_id, households.customer_id) = households.customer_id
    inner join email_permissions
        on households.customer_id = email_permissions.customer_id
        and mailings.sent_at >= email_permissions.starts_at
        and mailings.sent_at < email_permissions.ends_at
        and email_permissions.granted
    where households.email is not null
),

numbered as (
    select *, md5(campaign || '|' || customer_id || '|' || sent_at) as send_id from permitted
)

select
    numbered.*,
    coalesce(baskets.ordered_at >= numbered.sent_at - interval 35 day, false) as shopped_lately,
    not regexp_matches(numbered.email, '^[^@]+@[^@]+\.[^@]+$') as bounces,
    chance('open', send_id) as open_chance,
    chance('machine', send_id) as machine_chance,
    chance('click', send_id) as click_chance,
    chance('leave', send_id) as leave_chance,
    to_minutes((1 + power(chance('open delay', send_id), 3) * 2600)::integer) as open_delay
from numbered
asof left join baskets on numbered.customer_id = baskets.customer_id and numbered.sent_at >= baskets.ordered_at;

create table outcomes as
select
    *,
    -- People who shop read more; most people whose interest faded read nothing.
    not bounces
    and open_chance < (0.06 + 0.5 * power(reads_chance, 1.5))
        * case when sent_at >= stops_reading_at then 0 else 1 end
        * case when shopped_lately then 1 else 0.15 end as opened,
    -- A quarter of the households have a mail client that opens everything by itself.
    not bounces and chance('mail privacy', customer_id) < 0.25 and machine_chance < 0.95 as opened_by_machine
from sends;

create table message_rows as
select send_id, customer_id, email, 'sent' as event_type, sent_at as occurred_at, campaign, false as is_machine from outcomes
union all
select send_id, customer_id, email, 'delivered', sent_at + interval 40 second, campaign, false from outcomes where not bounces
union all
select send_id, customer_id, email, 'bounced', sent_at + interval 55 second, campaign, false from outcomes where bounces
union all
select send_id, customer_id, email, 'opened', sent_at + interval 90 second, campaign, true from outcomes where opened_by_machine
union all
select send_id, customer_id, email, 'opened', sent_at + open_delay, campaign, false from outcomes where opened
union all
select send_id, customer_id, email, 'clicked', sent_at + open_delay + interval 25 second, campaign, false from outcomes where opened and click_chance < 0.16
union all
-- Link scanners click within seconds.
select send_id, customer_id, email, 'clicked', sent_at + interval 58 second, campaign, true from outcomes where not bounces and machine_chance > 0.99
union all
select send_id, customer_id, email, 'unsubscribed', sent_at + open_delay + interval 70 second, campaign, false
from outcomes
where opened and leave_chance < 0.003
union all
select send_id, customer_id, email, 'complained', sent_at + open_delay + interval 65 second, campaign, false
from outcomes
where opened and leave_chance > 0.9993;

create table message_events as
select
    md5(send_id || '|' || event_type || '|' || is_machine) as event_id,
    customer_id,
    email as address,
    'email' as channel,
    event_type,
    occurred_at,
    campaign,
    is_machine
from message_rows;

-- Whoever unsubscribes by the link in a mail has withdrawn the consent.
insert into consents
select customer_id, 'email', min(occurred_at), false, 'unsubscribe link' from message_events where event_type = 'unsubscribed' group by customer_id;
