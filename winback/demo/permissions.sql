create table first_consents as
select
    households.customer_id,
    channels.channel,
    households.created_at as changed_at,
    chance('consent ' || channels.channel, households.customer_id) < channels.share as granted,
    case when channels.channel = 'push' then 'app' else 'sign-up form' end as source
from households
cross join (values ('email', 0.80), ('sms', 0.38), ('push', 0.75), ('ads', 0.60)) as channels (channel, share)
where
    -- Some were never asked: no consent on record means no consent.
    chance('asked ' || channels.channel, households.customer_id) < 0.92
    and (channels.channel != 'push' or households.has_app);

create table withdrawals as
select
    customer_id,
    channel,
    greatest(
        timestamp '2017-02-01' + to_minutes((chance('withdrawn when ' || channel, customer_id) * 325 * 1440)::integer), changed_at + to_days(1)
    ) as changed_at,
    false as granted,
    'preference page' as source
from first_consents
where granted and chance('withdrawn ' || channel, customer_id) < 0.07;

create table consents as
select * from first_consents
union all
select * from withdrawals
union all
-- A few change their mind once more.
select customer_id, channel, changed_at + to_days(21), true, 'preference page'
from withdrawals
where chance('back again ' || channel, customer_id) < 0.15;

create table devices as
with phones as (
    select
        md5(getvariable('seed') || '|push token|' || customer_id) as push_token,
        customer_id,
        case when chance('platform', customer_id) < 0.55 then 'ios' else 'android' end as platform,
        greatest(created_at, timestamp '2015-01-01') as installed_at,
        chance('uninstalled', customer_id) < 0.10 as uninstalled,
        timestamp '2017-03-01' + to_minutes((chance('uninstalled when', customer_id) * 300 * 1440)::integer) as uninstalled_at
    from households
    where has_app
)

select push_token, customer_id, platform, true as active, installed_at as updated_at from phones
union all
select push_token, customer_id, platform, false, greatest(uninstalled_at, installed_at + to_days(1)) from phones where uninstalled;
