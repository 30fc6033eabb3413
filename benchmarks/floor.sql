-- Every mart of dbt_project/models/marts as one would write it by hand for DuckDB alone: the yardstick for what dbt costs.
-- tests/benchmarks holds it to the same rows. Where the two differ on purpose:
--   it knows the first day only, on which the ledger holds nothing but the programs (no suppressions, journeys, tags or limits);
--   personal data that no mart holds (names, phone numbers) is not carried, so the table of contacts that delivery reads is not made;
--   thresholds stand in the text.
-- Variables: as_of (timestamp), seeds (folder of the dbt seeds).

create or replace temp macro as_of() as cast(getvariable('as_of') as timestamp);
create or replace temp macro as_of_day() as cast(getvariable('as_of') as date);
create or replace temp macro days_ago(day) as cast(as_of_day() - day as integer);
-- The first date whose daily run sees what happened on a day.
create or replace temp macro first_seen(day) as case when day < as_of_day() then day + 1 when day >= as_of_day() then as_of_day() end;
create or replace temp macro tier(days) as case when days < 31 then 'active' when days < 91 then 'at_risk' else 'inactive' end;

drop schema if exists floor cascade;
create schema floor;

-- Programs ---------------------------------------------------------------------------------------------------------------------------------

create or replace temp table programs_in_force as
with versions as (
    from programs.versions
    where not is_draft
    qualify row_number() over (
        partition by program order by effective_at <= as_of() desc, case when effective_at <= as_of() then -version else version end
    ) = 1
),

statuses as (
    from programs.statuses
    where not is_draft
    qualify row_number() over (
        partition by program
        order by effective_at <= as_of() desc, case when effective_at <= as_of() then effective_at end desc nulls last, effective_at
    ) = 1
),

channels as (
    select program, version, channel from programs.step_channels where not is_draft
    union all
    select program, version, 'ads' from programs.ad_platforms where not is_draft
)

select
    versions.* replace (
        coalesce(exclude_purchased_within_days, 0) as exclude_purchased_within_days,
        coalesce(exclude_engaged_within_days, 0) as exclude_engaged_within_days
    ),
    coalesce(status, 'draft') as status,
    (select list(channel) from channels where channels.program = versions.program and channels.version = versions.version) as channels,
    case cadence
        when 'weekly' then weekday = isodow(as_of_day())
        when 'biweekly' then weekday = isodow(as_of_day()) and (as_of_day() - date '1970-01-05') // 7 % 2 = 0
        else true
    end as is_entry_day,
    row_number() over (order by priority desc, program) as turn
from versions
left join statuses using (program);

-- The widest range of lapse_days that any program in force asks of an audience.
create or replace temp table ranges as
with defaults (audience, at_least, below) as (
    values
    ('past_own_cycle', 8, 100000), ('customer_not_active', 90, 100000), ('product_cycle_ended', 0, 100000),
    ('lapsed_one_to_two_years', 365, 730), ('customer_lapsed', 60, 100000), ('email_fading', 30, 100000),
    ('product_unused', 30, 100000), ('tier_drop', 0, 30)
)

select
    defaults.audience,
    any_value(defaults.at_least) as own_at_least,
    any_value(defaults.below) as own_below,
    coalesce(min(coalesce(lapse_days_at_least, defaults.at_least)), any_value(defaults.at_least)) as at_least,
    coalesce(max(coalesce(lapse_days_below, defaults.below)), any_value(defaults.below)) as below
from defaults
left join programs_in_force as programs on defaults.audience = programs.audience and programs.status <> 'retired'
group by defaults.audience;

create or replace temp macro in_range(name, days) as
    days >= (select at_least from ranges where audience = name) and days < (select below from ranges where audience = name);

-- Purchases --------------------------------------------------------------------------------------------------------------------------------

create or replace temp table purchases as
with bought as (
    select
        order_id,
        customer_id,
        ordered_at,
        cast(ordered_at as date) as ordered_on,
        coalesce(total, 0) - coalesce(refunded, 0) as net,
        rates.rate
    from raw.orders
    left join read_csv(getvariable('seeds') || '/currency_rates.csv', types = {'rate': 'decimal(18, 8)'}) as rates using (currency)
    where
        ordered_at < as_of()
        and customer_id is not null
        and (status is null or lower(status) not in ('cancelled', 'canceled', 'voided'))
        and not (coalesce(refunded, 0) > 0 and refunded >= coalesce(total, 0))
)

select
    order_id,
    customer_id,
    ordered_at,
    ordered_on,
    case when rate is null then net else cast(net * rate as decimal(18, 4)) end as net_value,
    cast(ordered_on - lag(ordered_on) over (partition by customer_id order by ordered_at) as integer) as days_since_previous
from bought;

create or replace temp table buyers as
select
    customer_id,
    min(ordered_at) as first_ordered_at,
    max(ordered_at) as last_ordered_at,
    cast(count(*) as integer) as order_count,
    cast(count(*) filter (days_since_previous is null or days_since_previous > 0) as integer) as order_day_count,
    cast(sum(net_value) as decimal(18, 4)) as lifetime_value,
    sum(net_value) filter (ordered_on > as_of_day() - 365) as spend_last_365_days,
    cast(count(*) filter (days_since_previous > 0) as double) as gaps,
    cast(sum(days_since_previous) as double) as days_of_gaps,
    cast(sum(cast(days_since_previous as bigint) * days_since_previous) as double) as squares_of_gaps,
    quantile_cont(case when days_since_previous > 0 then days_since_previous end, 0.5) as median_purchase_interval
from purchases
group by customer_id;

create or replace temp table main_categories as
with products as (
    select product_id, nullif(trim(category), '') as category, nullif(lower(trim(category)), '') as category_key
    from raw.products
    where launched_at < as_of() or launched_at is null
    qualify row_number() over (
        partition by product_id order by launched_at desc nulls last, nullif(trim(category), '') nulls last, name nulls last
    ) = 1
),

ordered as (
    select order_id, category_key, min(category) as category
    from raw.order_lines
    inner join products using (product_id)
    where category is not null
    group by all
),

bought as (
    select customer_id, category_key, min(category) as category, count(*) as orders, max(ordered_at) as last_ordered_at
    from ordered
    inner join purchases using (order_id)
    group by all
)

select customer_id, category as main_category
from bought
qualify row_number() over (partition by customer_id order by orders desc, last_ordered_at desc, category_key) = 1;

-- People -----------------------------------------------------------------------------------------------------------------------------------

create or replace temp table people as
with known as (
    select
        customer_id,
        nullif(lower(trim(email)), '') as email,
        regexp_replace(phone, '[^0-9+]', '', 'g') as dialled,
        upper(nullif(trim(country), '')) as country,
        nullif(trim(timezone), '') as timezone,
        nullif(trim(language), '') as language,
        nullif(trim(brand), '') as brand,
        created_at
    from raw.customers
    where created_at < as_of() or created_at is null
    qualify row_number() over (
        partition by customer_id
        order by created_at nulls last, nullif(lower(trim(email)), '') nulls last, phone nulls last
    ) = 1
)

select
    * exclude dialled,
    nullif(case when dialled like '00%' then '+' || substring(dialled, 3) else dialled end, '') as phone
from known
union all
select customer_id, null, null, null, null, null, null, null
from buyers
where customer_id not in (select customer_id from known);

create or replace temp table devices as
from raw.devices
where updated_at < as_of() or updated_at is null
qualify row_number() over (
    partition by push_token order by updated_at desc nulls last, active is true nulls first, customer_id
) = 1;

-- Messages that were answered or refused, by people or machines: all but what was sent and delivered.
create or replace temp table answers as
with heard as (
    select event_id, customer_id, address, channel, event_type, occurred_at, is_machine is true as is_machine
    from raw.message_events
    where occurred_at < as_of() and event_type not in ('sent', 'delivered')
),

owners as (
    select 'email' as channel, email as address, customer_id from people where email is not null
    union all
    select 'sms', phone, customer_id from people where phone is not null
    union all
    select 'push', push_token, customer_id from devices
)

select * exclude address from heard where customer_id is not null
union all
select event_id, owners.customer_id, heard.channel, event_type, occurred_at, is_machine
from heard
inner join owners
    on heard.channel = owners.channel
    and case when heard.channel = 'email' then lower(trim(heard.address)) else trim(heard.address) end = owners.address
where heard.customer_id is null;

create or replace temp table refusals as
with often_bounced as (
    select customer_id, channel from answers where event_type = 'bounced' group by all having count(*) >= 3
),

owners as (
    select 'email' as channel, email as address, customer_id from people where email is not null
    union all
    select 'sms', phone, customer_id from people where phone is not null
    union all
    select 'push', push_token, customer_id from devices
),

signs as (
    select customer_id, channel, occurred_at from answers where event_type in ('opened', 'clicked', 'replied')
    union all
    select customer_id, channel, occurred_at from raw.message_events
    where occurred_at < as_of() and event_type = 'delivered' and customer_id is not null
    union all
    select owners.customer_id, events.channel, events.occurred_at
    from raw.message_events as events
    inner join owners
        on events.channel = owners.channel
        and case when events.channel = 'email' then lower(trim(events.address)) else trim(events.address) end = owners.address
    where events.occurred_at < as_of() and events.event_type = 'delivered' and events.customer_id is null
    union all
    select customer_id, channel, changed_at from raw.consents where changed_at < as_of() and granted
),

last_signs as (
    select customer_id, channel, max(occurred_at) as occurred_at
    from signs
    semi join often_bounced using (customer_id, channel)
    group by all
),

bouncing as (
    select answers.customer_id, answers.channel
    from answers
    left join last_signs using (customer_id, channel)
    where event_type = 'bounced' and (last_signs.occurred_at is null or answers.occurred_at > last_signs.occurred_at)
    group by all
    having count(distinct event_id) >= 3
),

facts as (
    select customer_id, channel, event_type, occurred_at from answers where event_type in ('unsubscribed', 'complained')
    union all
    select customer_id, channel, 'bouncing', null from bouncing
)

select
    customer_id,
    max(occurred_at) filter (channel = 'email' and event_type = 'unsubscribed') as email_unsubscribed_at,
    max(occurred_at) filter (channel = 'email' and event_type = 'complained') as email_complained_at,
    bool_or(channel = 'email' and event_type = 'bouncing') as email_is_bouncing,
    max(occurred_at) filter (channel = 'sms' and event_type = 'unsubscribed') as sms_unsubscribed_at,
    max(occurred_at) filter (channel = 'sms' and event_type = 'complained') as sms_complained_at,
    bool_or(channel = 'sms' and event_type = 'bouncing') as sms_is_bouncing,
    max(occurred_at) filter (channel = 'push' and event_type = 'unsubscribed') as push_unsubscribed_at,
    max(occurred_at) filter (channel = 'push' and event_type = 'complained') as push_complained_at,
    bool_or(channel = 'push' and event_type = 'bouncing') as push_is_bouncing
from facts
group by customer_id;

create or replace temp table reachability as
with changed as (
    select
        customer_id,
        max(changed_at) filter (channel = 'email' and granted) as email_granted_at,
        max(changed_at) filter (channel = 'email' and granted is not true) as email_withdrawn_at,
        max(changed_at) filter (channel = 'sms' and granted) as sms_granted_at,
        max(changed_at) filter (channel = 'sms' and granted is not true) as sms_withdrawn_at,
        max(changed_at) filter (channel = 'push' and granted) as push_granted_at,
        max(changed_at) filter (channel = 'push' and granted is not true) as push_withdrawn_at,
        max(changed_at) filter (channel = 'ads' and granted) as ads_granted_at,
        max(changed_at) filter (channel = 'ads' and granted is not true) as ads_withdrawn_at
    from raw.consents
    where changed_at < as_of()
    group by customer_id
),

consents as (
    select
        customer_id,
        case when email_withdrawn_at is null or email_granted_at > email_withdrawn_at then email_granted_at end as email_consented_at,
        email_withdrawn_at is not null as email_withdrawn,
        case when sms_withdrawn_at is null or sms_granted_at > sms_withdrawn_at then sms_granted_at end as sms_consented_at,
        sms_withdrawn_at is not null as sms_withdrawn,
        case when push_withdrawn_at is null or push_granted_at > push_withdrawn_at then push_granted_at end as push_consented_at,
        push_withdrawn_at is not null as push_withdrawn,
        case when ads_withdrawn_at is null or ads_granted_at > ads_withdrawn_at then ads_granted_at end as ads_consented_at,
        ads_withdrawn_at is not null as ads_withdrawn
    from changed
),

tokens as (
    select distinct customer_id, true as has_token from devices where active
),

addressed as (
    select
        customer_id,
        email,
        phone,
        coalesce(
            length(email) <= 254 and regexp_matches(email, '^[^][@ ,;:<>()"]+@[^][@ ,;:<>()."]+([.][^][@ ,;:<>()."]+)+$'), false
        ) as is_email_valid,
        coalesce(regexp_matches(phone, '^[+][1-9][0-9]{6,14}$'), false) as is_phone_valid
    from people
)

select
    customer_id,
    case
        when email is null then 'no_address'
        when not is_email_valid then 'invalid_address'
        when email_consented_at is null and email_withdrawn then 'consent_withdrawn'
        when email_consented_at is null then 'no_consent'
        when email_unsubscribed_at >= email_consented_at then 'unsubscribed'
        when email_complained_at >= email_consented_at then 'complained'
        when email_is_bouncing then 'bounced'
    end as email_unreachable_reason,
    case
        when phone is null then 'no_address'
        when not is_phone_valid then 'invalid_address'
        when sms_consented_at is null and sms_withdrawn then 'consent_withdrawn'
        when sms_consented_at is null then 'no_consent'
        when sms_unsubscribed_at >= sms_consented_at then 'unsubscribed'
        when sms_complained_at >= sms_consented_at then 'complained'
        when sms_is_bouncing then 'bounced'
    end as sms_unreachable_reason,
    case
        when has_token is null then 'no_address'
        when push_consented_at is null and push_withdrawn then 'consent_withdrawn'
        when push_consented_at is null then 'no_consent'
        when push_unsubscribed_at >= push_consented_at then 'unsubscribed'
        when push_complained_at >= push_consented_at then 'complained'
        when push_is_bouncing then 'bounced'
    end as push_unreachable_reason,
    case
        when email is null and phone is null then 'no_address'
        when not (is_email_valid or is_phone_valid) then 'invalid_address'
        when ads_consented_at is null and ads_withdrawn then 'consent_withdrawn'
        when ads_consented_at is null then 'no_consent'
    end as ads_unreachable_reason
from addressed
left join consents using (customer_id)
left join refusals using (customer_id)
left join tokens using (customer_id);

-- Activity ---------------------------------------------------------------------------------------------------------------------------------

create or replace temp table engagement as
with events as (
    select customer_id, channel, event_type, occurred_at from answers
    where event_type in ('opened', 'clicked', 'replied') and not is_machine
    union all
    select customer_id, null, event_type, occurred_at from raw.activity_events
    where occurred_at < as_of() and event_type in ('visit', 'login', 'action') and customer_id is not null
)

select
    customer_id,
    max(occurred_at) filter (event_type = 'opened') as last_opened_at,
    max(occurred_at) filter (event_type = 'clicked') as last_clicked_at,
    max(occurred_at) filter (channel = 'email') as last_email_engaged_at,
    max(occurred_at) filter (event_type = 'visit') as last_visited_at,
    max(occurred_at) filter (event_type in ('login', 'action')) as last_used_at,
    max(occurred_at) as last_engaged_at
from events
group by customer_id;

-- Stretches of days none of which lies 31 days or more after the one before.
create or replace temp table stretches as
with days as (
    select customer_id, cast(occurred_at as date) as day from answers
    where event_type in ('opened', 'clicked', 'replied') and not is_machine
    union all
    select customer_id, cast(occurred_at as date) from raw.activity_events
    where occurred_at < as_of() and event_type in ('visit', 'login', 'action') and customer_id is not null
    union all
    select customer_id, ordered_on from purchases
),

neighbours as (
    select customer_id, day, lag(day) over in_order as previous, lead(day) over in_order as next
    from days
    window in_order as (partition by customer_id order by day)
),

-- The first day of each stretch, and the last of the last.
edges as (
    select *, coalesce(day - previous >= 31, true) as is_first
    from neighbours
    where previous is null or next is null or day - previous >= 31
),

closed as (
    select
        *,
        lead(case when is_first then previous else day end) over in_order as closing_day,
        lead(case when is_first then day end) over in_order as next_active_from
    from edges
    window in_order as (partition by customer_id order by day, is_first desc)
)

select
    customer_id,
    day as active_from,
    coalesce(closing_day, day) as active_to,
    previous as previous_active_on,
    next_active_from
from closed
where is_first;

-- Marts of customers -----------------------------------------------------------------------------------------------------------------------

create table floor.customers as
with cycles as (
    select lower(category) as category, cast(cycle_days as integer) as cycle_days
    from read_csv(getvariable('seeds') || '/product_cycles.csv')
),

joined as (
    select
        people.* exclude (email, phone),
        buyers.* exclude (customer_id, order_count, order_day_count, lifetime_value, spend_last_365_days),
        coalesce(order_count, 0) as order_count,
        coalesce(order_day_count, 0) as order_day_count,
        coalesce(lifetime_value, 0) as lifetime_value,
        coalesce(spend_last_365_days, 0) as spend_last_365_days,
        cast(first_ordered_at as date) as first_ordered_on,
        cast(last_ordered_at as date) as last_ordered_on,
        days_of_gaps / nullif(gaps, 0) as average_purchase_interval,
        main_category,
        coalesce(cycles.cycle_days, (select cycle_days from cycles where category = 'default')) as product_cycle_days,
        engagement.* exclude customer_id,
        active_from,
        active_to,
        previous_active_on,
        reachability.* exclude customer_id
    from people
    inner join reachability using (customer_id)
    left join buyers using (customer_id)
    left join engagement using (customer_id)
    left join stretches on people.customer_id = stretches.customer_id and stretches.next_active_from is null
    left join main_categories on people.customer_id = main_categories.customer_id
    left join cycles on lower(main_category) = cycles.category
),

tiered as (
    select
        *,
        tier(days_ago(active_to)) as engagement_tier,
        case
            when order_day_count = 0 then null
            when order_day_count > 5 then average_purchase_interval
            else (last_ordered_on - first_ordered_on + (6 - order_day_count) * product_cycle_days) / 5.0::double
        end as expected_interval
    from joined
),

changed as (
    select
        *,
        case
            when active_to is null then first_seen(cast(created_at as date))
            when engagement_tier = 'active' then first_seen(active_from)
            when engagement_tier = 'at_risk' then active_to + 31
            else active_to + 91
        end as tier_changed_on
    from tiered
)

select
    customer_id,
    country,
    timezone,
    language,
    brand,
    created_at,
    first_ordered_at,
    last_ordered_at,
    order_count,
    order_day_count,
    cast(lifetime_value as decimal(18, 4)) as lifetime_value,
    cast(lifetime_value as double) / nullif(order_count, 0) as average_order_value,
    cast(spend_last_365_days as decimal(18, 4)) as spend_last_365_days,
    days_ago(first_ordered_on) as days_since_first_order,
    days_ago(last_ordered_on) as days_since_last_order,
    average_purchase_interval,
    median_purchase_interval,
    case when gaps >= 2 then sqrt((gaps * squares_of_gaps - days_of_gaps * days_of_gaps) / (gaps * (gaps - 1))) end as purchase_interval_stddev,
    days_ago(last_ordered_on) - average_purchase_interval as days_past_cycle,
    main_category,
    product_cycle_days,
    last_ordered_on + cast(floor(expected_interval + 0.5) as integer) as expected_next_order_on,
    last_opened_at,
    last_clicked_at,
    last_email_engaged_at,
    last_visited_at,
    last_used_at,
    last_engaged_at,
    greatest(last_ordered_at, last_engaged_at) as last_active_at,
    days_ago(cast(last_opened_at as date)) as days_since_last_open,
    days_ago(cast(last_clicked_at as date)) as days_since_last_click,
    days_ago(cast(last_email_engaged_at as date)) as days_since_last_email_engagement,
    days_ago(cast(last_visited_at as date)) as days_since_last_visit,
    days_ago(cast(last_used_at as date)) as days_since_last_product_use,
    days_ago(cast(last_engaged_at as date)) as days_since_last_engagement,
    days_ago(active_to) as days_since_last_activity,
    engagement_tier,
    case
        when tier_changed_on is null or tier_changed_on < as_of_day() then engagement_tier
        when engagement_tier = 'inactive' then case when active_to is null then 'inactive' else 'at_risk' end
        when engagement_tier = 'at_risk' then 'active'
        else tier(as_of_day() - 1 - previous_active_on)
    end as previous_engagement_tier,
    tier_changed_on,
    case
        when last_ordered_on is null then 'prospect'
        when days_ago(first_ordered_on) <= 30 then 'new'
        when days_ago(last_ordered_on) <= 365 then 'active'
        when days_ago(last_ordered_on) <= 730 then 'lapsed'
        else 'dormant'
    end as purchase_lifecycle,
    email_unreachable_reason is null as reachable_email,
    email_unreachable_reason,
    sms_unreachable_reason is null as reachable_sms,
    sms_unreachable_reason,
    push_unreachable_reason is null as reachable_push,
    push_unreachable_reason,
    ads_unreachable_reason is null as reachable_ads,
    ads_unreachable_reason,
    as_of() as as_of
from changed;

create table floor.customer_tier_history as
with stays as (
    select
        stretches.customer_id,
        unnest([
            {
                'tier': 'active',
                'previous_tier': case
                    when first_seen(active_from) > previous_active_on + 91 then 'inactive'
                    when previous_active_on is not null then 'at_risk'
                    when first_seen(cast(people.created_at as date)) < first_seen(active_from) then 'inactive'
                end,
                'started_on': first_seen(active_from),
                'ended_on': active_to + 31
            },
            {
                'tier': 'at_risk',
                'previous_tier': 'active',
                'started_on': active_to + 31,
                'ended_on': case when first_seen(next_active_from) < active_to + 91 then first_seen(next_active_from) else active_to + 91 end
            },
            {
                'tier': case when first_seen(next_active_from) is null or first_seen(next_active_from) > active_to + 91 then 'inactive' end,
                'previous_tier': 'at_risk',
                'started_on': active_to + 91,
                'ended_on': first_seen(next_active_from)
            }
        ], recursive := true)
    from stretches
    join people using (customer_id)
    union all
    select people.customer_id, 'inactive', null, first_seen(cast(created_at as date)), first_seen(active_from)
    from people
    left join stretches on people.customer_id = stretches.customer_id and stretches.previous_active_on is null
    where created_at is not null and (active_from is null or first_seen(active_from) > first_seen(cast(created_at as date)))
)

select customer_id, tier, previous_tier, started_on, case when ended_on <= as_of_day() then ended_on end as ended_on
from stays
where started_on <= as_of_day() and tier is not null;

create table floor.customer_segments as
with flags as (
    select
        customer_id,
        coalesce(days_since_last_engagement < 90, false) as engaged,
        coalesce(days_since_last_activity < 90, false) as active,
        coalesce(days_since_last_order < 90, false) as bought_lately,
        order_count,
        order_day_count,
        reachable_email,
        reachable_sms,
        reachable_push,
        order_count > 0 and cast(lifetime_value as double) >= (
            select quantile_cont(cast(lifetime_value as double), 0.9) from floor.customers where order_count > 0
        ) as high_value
    from floor.customers
),

named as (
    select
        customer_id,
        unnest([
            case when engaged then 'active_user' else 'not_active_user' end,
            case when order_count > 0 then 'customer' else 'prospect' end,
            case when order_count = 1 then 'one_time_buyer' end,
            case when order_day_count >= 2 then 'repeat_buyer' end,
            case when bought_lately then 'purchased_last_90d' else 'no_purchase_last_90d' end,
            case when order_count > 0 then case when active then 'customer_active' else 'customer_not_active' end end,
            case when high_value then 'high_value' end,
            case when reachable_email then 'email_subscriber' end,
            case when reachable_sms then 'sms_subscriber' end,
            case when reachable_push then 'push_subscriber' end
        ]) as segment
    from flags
)

from named
where segment is not null;

-- Audiences --------------------------------------------------------------------------------------------------------------------------------

create table floor.past_own_cycle as
select customer_id, last_ordered_at as anchor_at, 'past_own_cycle' as reason, cast(floor(days_past_cycle) as integer) as lapse_days
from floor.customers
where order_day_count >= 2 and in_range('past_own_cycle', cast(floor(days_past_cycle) as integer));

create table floor.customer_not_active as
select customer_id, last_active_at as anchor_at, 'no_activity' as reason, days_since_last_activity as lapse_days
from floor.customers
where order_count > 0 and in_range('customer_not_active', days_since_last_activity);

create table floor.product_cycle_ended as
select customer_id, last_ordered_at as anchor_at, 'product_cycle_ended' as reason, days_since_last_order - product_cycle_days as lapse_days
from floor.customers
where order_count > 0 and in_range('product_cycle_ended', days_since_last_order - product_cycle_days);

create table floor.lapsed_one_to_two_years as
select customer_id, last_ordered_at as anchor_at, 'no_purchase' as reason, days_since_last_order as lapse_days
from floor.customers
where order_count > 0 and in_range('lapsed_one_to_two_years', days_since_last_order);

create table floor.customer_lapsed as
select customer_id, last_ordered_at as anchor_at, 'no_purchase' as reason, days_since_last_order as lapse_days
from floor.customers
where order_count > 0 and in_range('customer_lapsed', days_since_last_order);

create table floor.email_fading as
select customer_id, last_email_engaged_at as anchor_at, 'no_open_or_click' as reason, days_since_last_email_engagement as lapse_days
from floor.customers
where last_email_engaged_at is not null and in_range('email_fading', days_since_last_email_engagement);

create table floor.product_unused as
select customer_id, last_used_at as anchor_at, 'no_login_or_action' as reason, days_since_last_product_use as lapse_days
from floor.customers
where last_used_at is not null and in_range('product_unused', days_since_last_product_use);

create table floor.tier_drop as
select customer_id, cast(tier_changed_on as timestamp) as anchor_at, engagement_tier as reason, days_ago(tier_changed_on) as lapse_days
from floor.customers
where engagement_tier <> 'active' and last_active_at is not null and in_range('tier_drop', days_ago(tier_changed_on));

-- Journeys ---------------------------------------------------------------------------------------------------------------------------------

create or replace temp table duplicates as
with addresses as (
    select 1 as kind, email as address, customer_id, created_at from people
    inner join reachability using (customer_id)
    where email is not null and email_unreachable_reason is distinct from 'invalid_address'
    union all
    select 2, phone, customer_id, created_at from people
    inner join reachability using (customer_id)
    where phone is not null and sms_unreachable_reason is distinct from 'invalid_address'
),

shared as (
    select kind, address from addresses group by all having count(*) > 1
),

compared as (
    select
        kind,
        addresses.customer_id,
        first_value(addresses.customer_id) over (
            partition by kind, address
            order by active_to desc nulls last, created_at desc nulls last, addresses.customer_id
        ) as freshest
    from addresses
    semi join shared using (kind, address)
    left join stretches on addresses.customer_id = stretches.customer_id and stretches.next_active_from is null
)

select distinct customer_id
from compared
where customer_id <> freshest;

create table floor.journey_admissions as
with members as (
    select 'past_own_cycle' as audience, * from floor.past_own_cycle
    union all
    select 'customer_not_active', * from floor.customer_not_active
    union all
    select 'product_cycle_ended', * from floor.product_cycle_ended
    union all
    select 'lapsed_one_to_two_years', * from floor.lapsed_one_to_two_years
    union all
    select 'customer_lapsed', * from floor.customer_lapsed
    union all
    select 'email_fading', * from floor.email_fading
    union all
    select 'product_unused', * from floor.product_unused
    union all
    select 'tier_drop', * from floor.tier_drop
),

gated as materialized (
    select
        programs.program,
        programs.version,
        programs.program_group,
        programs.turn,
        programs.max_per_day,
        programs.holdout_below,
        customer_id,
        anchor_at,
        members.reason as audience_reason,
        lapse_days,
        lifetime_value,
        case
            when duplicates.customer_id is not null then 'duplicate_contact'
            when days_since_last_order < exclude_purchased_within_days then 'purchased_recently'
            when days_since_last_engagement < exclude_engaged_within_days then 'engaged_recently'
        end as first_reason,
        case
            when not (
                channels is null
                or ('email' in channels and reachable_email)
                or ('sms' in channels and reachable_sms)
                or ('push' in channels and reachable_push)
                or ('ads' in channels and reachable_ads)
            ) then 'unreachable'
            when not is_entry_day then 'not_entry_day'
        end as second_reason
    from members
    inner join programs_in_force as programs using (audience)
    inner join ranges using (audience)
    inner join floor.customers using (customer_id)
    left join duplicates using (customer_id)
    where
        programs.status = 'live'
        and lapse_days >= coalesce(lapse_days_at_least, own_at_least)
        and lapse_days < coalesce(lapse_days_below, own_below)
),

contenders as (
    select customer_id, program_group, min(turn) as first_turn
    from gated
    where first_reason is null and second_reason is null
    group by all
),

entitled as (
    select
        *,
        coalesce(first_reason, case when first_turn < turn then 'higher_priority_program' end, second_reason) as gate
    from gated
    left join contenders using (customer_id, program_group)
),

ranked as (
    select *, row_number() over (partition by program, gate order by lifetime_value desc nulls last, customer_id) as value_rank
    from entitled
    where gate is null
),

decided as (
    select * exclude value_rank replace (case when value_rank > max_per_day then 'daily_cap' end as gate) from ranked
    union all
    select * from entitled where gate is not null
)

select
    as_of() as as_of,
    program,
    version,
    customer_id,
    anchor_at,
    audience_reason,
    cast(lapse_days as integer) as lapse_days,
    case
        when gate is null then md5(program || '|' || customer_id || '|' || strftime(anchor_at, '%Y-%m-%d %H:%M:%S.%f'))
    end as enrolment_id,
    case
        when gate is null
            then case when md5('winback|' || program || '|' || customer_id)[:8] < holdout_below then 'holdout' else 'treatment' end
    end as arm,
    case when gate is null then 'admitted' else 'blocked' end as decision,
    gate as reason
from decided;

create table floor.journey_enrolments as
select
    enrolment_id,
    program,
    admissions.version,
    customer_id,
    anchor_at,
    arm,
    as_of as enrolled_at,
    'open' as status,
    cast(null as varchar) as exit_reason,
    cast(null as timestamp) as exited_at,
    programs.step_count,
    0 as steps_done,
    steps.step_no as next_step_no,
    as_of_day() + steps.day as next_step_due_on
from floor.journey_admissions as admissions
inner join programs_in_force as programs using (program)
left join programs.steps as steps
    on admissions.program = steps.program and admissions.version = steps.version and steps.step_no = 1 and not steps.is_draft
where decision = 'admitted';

create or replace temp table policies as
from programs.sending_policies
where not is_draft
qualify row_number() over (
    partition by channel order by effective_at <= as_of() desc, case when effective_at <= as_of() then -version else version end
) = 1;

create table floor.journey_actions as
with due as (
    select
        journeys.enrolment_id,
        journeys.program,
        journeys.version,
        journeys.customer_id,
        journeys.arm,
        programs.priority,
        steps.step_no,
        steps.kind,
        steps.content,
        as_of_day() + steps.day as due_on,
        steps.only_if,
        steps.unless,
        (
            select arg_min(channels.channel, channels.position)
            from programs.step_channels as channels
            where
                channels.program = steps.program
                and channels.version = steps.version
                and channels.step_no = steps.step_no
                and not channels.is_draft
                and (
                    (channels.channel = 'email' and customers.reachable_email)
                    or (channels.channel = 'sms' and customers.reachable_sms)
                    or (channels.channel = 'push' and customers.reachable_push)
                )
        ) as reached_by
    from floor.journey_enrolments as journeys
    inner join programs.steps as steps
        on journeys.program = steps.program and journeys.version = steps.version and not steps.is_draft and steps.day <= 0
    inner join programs_in_force as programs on journeys.program = programs.program
    inner join floor.customers as customers on journeys.customer_id = customers.customer_id
),

conditioned as (
    select
        due.* exclude reached_by,
        case when kind = 'task' then 'task' else reached_by end as channel,
        case
            when only_if is not null and wanted.customer_id is null then 'condition'
            when unless is not null and unwanted.customer_id is not null then 'condition'
            when kind = 'send' and reached_by is null then 'unreachable'
        end as skip_reason
    from due
    left join floor.customer_segments as wanted on due.customer_id = wanted.customer_id and due.only_if = wanted.segment
    left join floor.customer_segments as unwanted on due.customer_id = unwanted.customer_id and due.unless = unwanted.segment
),

-- Steps that are skipped make room for the next; the first that is not is the only one taken.
taken as (
    from conditioned
    qualify coalesce(
        count(*) filter (skip_reason is null) over (
            partition by enrolment_id order by step_no rows between unbounded preceding and 1 preceding
        ), 0
    ) = 0
),

sends as (
    select
        enrolment_id,
        step_no,
        customer_id,
        channel,
        row_number() over (partition by customer_id, channel order by priority desc, program, enrolment_id) as turn
    from taken
    where kind = 'send' and arm = 'treatment' and skip_reason is null
),

owners as (
    select 'email' as channel, email as address, people.customer_id from people semi join sends using (customer_id)
    union all
    select 'sms', phone, people.customer_id from people semi join sends using (customer_id)
    union all
    select 'push', push_token, devices.customer_id from devices semi join sends using (customer_id)
),

window_days as (
    select max(window_days) as days from policies
),

sent as (
    select event_id, customer_id, address, channel, occurred_at from raw.message_events
    where
        event_type = 'sent'
        and occurred_at < as_of()
        and occurred_at >= as_of_day() - (select cast(days as integer) from window_days)
        and (campaign is null or campaign not in (select program from programs_in_force))
),

contacts as (
    select event_id, customer_id, channel, cast(occurred_at as date) as contacted_on from sent where customer_id is not null
    union all
    select event_id, owners.customer_id, sent.channel, cast(occurred_at as date)
    from sent
    inner join owners
        on sent.channel = owners.channel
        and case when sent.channel = 'email' then lower(trim(sent.address)) else trim(sent.address) end = owners.address
    where sent.customer_id is null
),

messages_left as (
    select sends.customer_id, sends.channel, any_value(policies.max_messages) - count(distinct contacts.event_id) as messages_left
    from (select distinct customer_id, channel from sends) as sends
    inner join policies on sends.channel = policies.channel and policies.max_messages is not null
    left join contacts
        on sends.customer_id = contacts.customer_id
        and sends.channel = contacts.channel
        and days_ago(contacts.contacted_on) < policies.window_days
    group by all
),

decided as (
    select
        taken.*,
        coalesce(policies.patience_days, 3) as patience,
        coalesce(sends.turn > messages_left, false) as is_capped,
        case
            when skip_reason is not null then 'skip'
            when arm = 'holdout' then 'withhold'
            when is_capped and due_on + coalesce(policies.patience_days, 3) > as_of_day() then 'defer'
            when is_capped then 'skip'
            else kind
        end as decision
    from taken
    left join sends using (enrolment_id, step_no)
    left join messages_left on taken.customer_id = messages_left.customer_id and taken.channel = messages_left.channel
    left join policies on taken.channel = policies.channel
)

select
    as_of() as as_of,
    md5(enrolment_id || '|' || step_no) as step_id,
    case when decision in ('send', 'task') then md5(enrolment_id || '|' || step_no || '|' || channel) end as message_id,
    enrolment_id,
    program,
    version,
    customer_id,
    arm,
    step_no,
    kind,
    content,
    channel,
    due_on,
    decision,
    case when skip_reason is not null then skip_reason when decision in ('defer', 'skip') then 'capped' end as reason,
    case when decision in ('send', 'task') then as_of_day() + patience end as expires_on
from decided;

-- Nobody has completed a journey on the first day.
create table floor.journey_followups (
    followup_id varchar, enrolment_id varchar, program varchar, customer_id varchar, action varchar, value varchar, channel varchar,
    max_messages integer, window_days integer, ends_at timestamp
);

create table floor.ad_audience_members as
select platforms.platform, journeys.program, customer_id, min(enrolment_id) as enrolment_id, min(enrolled_at) as entered_at
from floor.journey_enrolments as journeys
inner join programs.ad_platforms as platforms
    on journeys.program = platforms.program and journeys.version = platforms.version and not platforms.is_draft
semi join (select customer_id from floor.customers where reachable_ads) as reachable using (customer_id)
where arm = 'treatment'
group by all;

-- Reports ----------------------------------------------------------------------------------------------------------------------------------

create table floor.admission_waterfall as
with reasons as (
    select unnest([
        'suppressed', 'duplicate_contact', 'purchased_recently', 'engaged_recently', 'already_enrolled', 'same_episode', 'reentry_wait',
        'max_entries', 'higher_priority_program', 'unreachable', 'not_entry_day', 'daily_cap', 'admitted'
    ]) as reason, unnest(range(1, 14)) as position
),

counted as (
    select program, coalesce(reason, 'admitted') as reason, count(*) as customers from floor.journey_admissions group by all
)

select
    as_of() as as_of,
    programs.program,
    programs.version,
    cast(reasons.position as integer) as position,
    reasons.reason,
    coalesce(counted.customers, 0) as customers
from programs_in_force as programs
cross join reasons
left join counted on programs.program = counted.program and reasons.reason = counted.reason
where programs.status = 'live';

create table floor.winback_monthly as
with thresholds (threshold) as (values (30), (60), (90), (180), (365)),

-- Time from one order day to the next; the last one of a customer is still open.
pauses as (
    select customer_id, ordered_on - days_since_previous as began_on, ordered_on as ended_on, days_since_previous as gap
    from purchases
    where days_since_previous >= 30
    union all
    select customer_id, cast(last_ordered_at as date), null, null from buyers
),

lapses as (
    select
        threshold,
        customer_id,
        gap,
        -- The first month that opens with the customer lapsed.
        cast(date_trunc('month', began_on + threshold + interval 1 month - interval 1 day) as date) as lapsed_from,
        cast(date_trunc('month', ended_on) as date) as ended_in
    from pauses
    inner join thresholds on gap is null or gap >= threshold
),

counted as (
    select threshold, lapsed_from, ended_in, count(*) as customers from lapses group by all
),

returned as (
    select threshold, ended_in as month, count(*) as returns, count(distinct customer_id) as returned_customers
    from lapses
    where gap > threshold
    group by all
),

months as (
    select cast(unnest(generate_series(
        date_trunc('month', (select min(first_ordered_at) from buyers)), cast(as_of_day() as timestamp), interval 1 month
    )) as date) as month
),

opened as (
    select
        month,
        threshold,
        cast(coalesce(sum(customers), 0) as integer) as lapsed_customers,
        cast(coalesce(sum(customers) filter (ended_in = month), 0) as integer) as won_back_customers
    from months
    cross join thresholds
    left join counted using (threshold)
    where month < as_of() and (lapsed_from <= month and (ended_in is null or ended_in >= month))
    group by all
)

select
    months.month,
    thresholds.threshold as lapse_threshold_days,
    coalesce(lapsed_customers, 0) as lapsed_customers,
    coalesce(won_back_customers, 0) as won_back_customers,
    100 * cast(won_back_customers as double) / nullif(lapsed_customers, 0) as win_back_percentage,
    cast(coalesce(returns, 0) as integer) as returns,
    cast(coalesce(returned_customers, 0) as integer) as returned_customers,
    cast(months.month + interval 1 month as date) as window_closes_on,
    cast(months.month + interval 1 month as date) <= as_of_day() as is_mature
from months
cross join thresholds
left join opened using (month, threshold)
left join returned using (month, threshold)
where months.month < as_of();
