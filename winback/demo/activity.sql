create table activity_rows as
-- Around a third of the baskets are looked up on the website first, up to a day before.
select
    customer_id,
    'visit' as event_type,
    ordered_at - to_minutes((5 + chance('visit before', order_id) * 1400)::integer) as occurred_at,
    order_id as reason
from baskets
where chance('looks first', order_id) < 0.05 + 0.5 * chance('web shopper', customer_id)
union all
-- Clicks in mails are visits.
select customer_id, 'visit', occurred_at + interval 3 second, event_id
from message_events
where event_type = 'clicked' and not is_machine;

-- Some weeks bring an idle visit or, until their interest fades, a login of app users; far fewer where the household has stopped buying.
create table weekly_moments as
with weeks as (
    select unnest(range(timestamp '2017-01-02', timestamp '2017-12-25', interval 7 day)) as week
),

chances as (
    select
        households.customer_id,
        weeks.week,
        kinds.event_type,
        chance(kinds.event_type || weeks.week, households.customer_id) as drawn,
        case
            when kinds.event_type = 'visit' then 0.14 * chance('web shopper', households.customer_id)
            else 0.15 + 0.5 * chance('app fan', households.customer_id)
        end as likelihood
    from households
    cross join weeks
    cross join (values ('visit'), ('login')) as kinds (event_type)
    where weeks.week >= households.created_at
        and (
            kinds.event_type = 'visit'
            or (households.has_app and coalesce(weeks.week < households.stops_using_at, true))
        )
)

select * from chances where drawn < likelihood;

insert into activity_rows
select
    likely.customer_id,
    likely.event_type,
    likely.week + to_minutes((chance('minute of ' || likely.event_type || likely.week, likely.customer_id) * 10000)::integer),
    likely.week::varchar
from weekly_moments as likely
asof left join baskets on likely.customer_id = baskets.customer_id and likely.week >= baskets.ordered_at
where likely.drawn < likely.likelihood * case when baskets.ordered_at >= likely.week - interval 45 day then 1 else 0.12 end;

insert into activity_rows
select customer_id, 'action', occurred_at + interval 2 minute, 'after ' || reason
from activity_rows
where event_type = 'login' and chance('acts', customer_id || reason) < 0.55;

create table activity_events as
select md5(customer_id || '|' || event_type || '|' || reason) as event_id, customer_id, event_type, date_trunc('second', occurred_at) as occurred_at
from activity_rows;
