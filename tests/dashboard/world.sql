-- An invented year of two programs with a holdout and one without, as of 2025-07-01: the columns of marts/measurement, figures that fit
-- together, no chance but md5. Journeys first; messages, orders and reports follow from them.
create schema if not exists marts;

create macro chance(key) as ('0x' || left(md5(key), 7))::integer / 268435456.0;

create table dim as
select * from (values
    ('customer_lapsed', 1, 'No purchase for 60 days', 'customer_lapsed', true, 20, 30, 72, 'BACK20', 20, 3),
    ('email_fading', 1, 'No open or click for 30 days', 'email_fading', true, 0, 14, 72, null, null, 2),
    ('lapsing_repeat_buyers', 1, 'Repeat buyers past their own rhythm', 'past_own_cycle', false, 10, 30, 72, 'COMEBACK15', 15, 2),
    ('lapsing_repeat_buyers', 2, 'Repeat buyers eight days past their own rhythm', 'past_own_cycle', true, 10, 30, 72, 'COMEBACK15', 15, 3)
) as t(program, version, description, audience, is_in_force, holdout_percent, window_days, attribution_hours, offer_code, offer_percent, step_count);

create table marts.dim_programs as
select program || '|' || version as program_version_id, program, version::integer as version, description, audience,
    case when is_in_force then 'live' else 'retired' end as status, is_in_force, timestamp '2024-08-01' as effective_at, 10 as priority,
    'daily' as cadence, holdout_percent::integer as holdout_percent, window_days::integer as window_days,
    attribution_hours::integer as attribution_hours, offer_code, offer_percent::integer as offer_percent, step_count::integer as step_count
from dim;

create table journeys as
with drawn as (
    select program, version, program || version || '-' || i as enrolment_id, holdout_percent, window_days, attribution_hours, step_count, offer_code,
        case when chance('brand' || program || i) < 0.7 then 'Greengate' else 'Harbour & <Hill>' end as brand,
        case when chance('arm' || program || version || i) * 100 < holdout_percent then 'holdout' else 'treatment' end as arm,
        (date '2024-08-01' + (case when program = 'lapsing_repeat_buyers' and version = 1 then i % 150
            when program = 'lapsing_repeat_buyers' then 150 + i % 183 else i % 333 end)::integer)::timestamp as enrolled_at
    from dim, range(2400) as t(i)
)
select *, enrolled_at + to_days(window_days) <= timestamp '2025-07-01' as is_mature,
    case when chance('back' || enrolment_id) < case when arm = 'treatment' then 0.34 else 0.27 end
        then floor(pow(chance('day' || enrolment_id), 1.6) * 80)::integer end as days_to_purchase,
    round(20 + 60 * chance('value' || enrolment_id), 2)::decimal(18, 4) as order_value
from drawn;

create table messages as
select enrolment_id || '-' || step_no as message_id, enrolment_id, program, version, brand, step_no, offer_code,
    case when chance('channel' || enrolment_id) < 0.72 then 'email' when chance('channel' || enrolment_id) < 0.88 then 'sms' else 'push' end as channel,
    ['we_miss_you', 'whats_new', 'last_chance'][step_no] as content, [0, 3, 7][step_no] as day,
    enrolled_at + to_days([0, 3, 7][step_no]) + interval 10 hours as sent_at
from journeys, range(1, 4) as t(step_no)
where arm = 'treatment' and step_no <= step_count
    and (days_to_purchase is null or days_to_purchase > [0, 3, 7][step_no])
    and enrolled_at + to_days([0, 3, 7][step_no]) < timestamp '2025-07-01';

create table orders as
select 'o-' || enrolment_id as order_id, 'c-' || enrolment_id as customer_id, enrolment_id as of_enrolment, brand,
    enrolled_at + to_days(days_to_purchase) + to_minutes((chance('minute' || enrolment_id) * 1440)::integer) as ordered_at, order_value as net_value,
    case when chance('coupon' || enrolment_id) < 0.3 then offer_code end as coupon_code
from journeys
where days_to_purchase is not null
    and enrolled_at + to_days(days_to_purchase + 1) <= timestamp '2025-07-01';

create table marts.order_attribution as
with touched as (
    select orders.*, messages.message_id, messages.enrolment_id, messages.program, messages.version, messages.step_no, messages.channel,
        messages.content, messages.sent_at as touched_at,
        epoch(orders.ordered_at - messages.sent_at) / 3600.0 as hours_since_touch,
        row_number() over (partition by order_id order by messages.sent_at desc) as touch_no
    from orders
    left join messages on messages.enrolment_id = orders.of_enrolment
        and messages.sent_at <= orders.ordered_at and orders.ordered_at < messages.sent_at + interval 30 days
)
select order_id, customer_id, brand, ordered_at, ordered_at::date as ordered_on, net_value, 'web' as sales_channel, coupon_code,
    touch_no = 1 as is_order_row, message_id, enrolment_id, program, version::integer as version, step_no::integer as step_no, channel, content,
    touched_at, hours_since_touch, case when message_id is not null then touch_no end as touch_no,
    message_id is not null and touch_no = 1 as is_last_touch,
    coalesce(touch_no = 1 and hours_since_touch < 24, false) as is_last_touch_24h,
    coalesce(touch_no = 1 and hours_since_touch < 72, false) as is_last_touch_72h,
    coalesce(touch_no = 1 and hours_since_touch < 120, false) as is_last_touch_120h,
    coalesce(touch_no = 1 and hours_since_touch < 72, false) as is_last_touch_program_window,
    coalesce(chance('read' || message_id) < 0.4, false) as was_read, coalesce(chance('read' || message_id) < 0.1, false) as was_clicked,
    coupon_code is not null and message_id is not null as coupon_match, case when coupon_code is not null then program end as redeemed_program
from touched;

create table marts.attribution_cube as
select program, brand, channel, ordered_on, floor(hours_since_touch)::integer as hours, count(*) as orders, count(distinct customer_id) as customers,
    sum(net_value)::decimal(18, 4) as revenue, count(*) filter (coupon_match) as coupon_orders
from marts.order_attribution
where is_last_touch
group by all;

create table walked as
select journeys.*, exists (select 1 from orders where of_enrolment = journeys.enrolment_id) as has_order,
    coalesce(days_to_purchase < window_days, false) as purchased,
    (select count(*) from messages where messages.enrolment_id = journeys.enrolment_id) as message_count,
    coalesce(days_to_purchase < 14, false) as is_exited,
    enrolled_at + interval 14 days > timestamp '2025-07-01' and not coalesce(days_to_purchase < 14, false) as is_open
from journeys;

create table marts.campaign_report as
select program, version::integer as version, brand, date_trunc('week', enrolled_at)::date as cohort_week, arm, count(*) as started,
    count(*) filter (is_open) as still_open, count(*) filter (is_exited) as exited,
    count(*) filter (not is_open and not is_exited) as completed, count(*) filter (purchased and has_order) as purchased,
    count(*) filter (purchased and has_order) as orders,
    coalesce(sum(order_value) filter (purchased and has_order), 0)::decimal(18, 4) as revenue, sum(message_count)::bigint as messages,
    (sum(message_count) * 0.01)::decimal(18, 4) as message_cost,
    100.0 * count(*) filter (is_open) / count(*) as still_open_percentage, 100.0 * count(*) filter (is_exited) / count(*) as exited_percentage,
    100.0 * count(*) filter (not is_open and not is_exited) / count(*) as completed_percentage,
    100.0 * count(*) filter (purchased and has_order) / count(*) as purchased_percentage,
    (coalesce(sum(order_value) filter (purchased and has_order), 0) / count(*))::decimal(18, 4) as revenue_per_started,
    count(*) filter (purchased and has_order) as attributed_orders,
    coalesce(sum(order_value) filter (purchased and has_order), 0)::decimal(18, 4) as attributed_revenue,
    any_value(window_days)::integer as window_days, max(enrolled_at + to_days(window_days))::date as window_closes_on, bool_and(is_mature) as is_mature
from walked
group by all;

create table reached as
select walked.program, walked.version, walked.brand, walked.arm, step_no, walked.enrolment_id, walked.step_count,
    case when step_no > step_count then null else ['we_miss_you', 'whats_new', 'last_chance'][step_no] end as content,
    case when step_no > step_count then 14 else [0, 3, 7][step_no] end as day,
    case when days_to_purchase is not null and days_to_purchase <= case when step_no > step_count then 13 else [0, 3, 7][step_no] end then 'purchase'
        when chance('lost' || walked.enrolment_id || step_no) < 0.02 then 'lost_consent'
        when enrolled_at + to_days(case when step_no > step_count then 14 else [0, 3, 7][step_no] end) >= timestamp '2025-07-01' then 'waiting'
        when step_no > step_count then 'completed' else 'progressed' end as outcome
from walked, range(1, 5) as t(step_no)
where step_no <= step_count + 1;

create table marts.journey_flow as
with alive as (
    select reached.*, count(*) filter (outcome <> 'progressed') over (partition by enrolment_id order by step_no
        rows between unbounded preceding and 1 preceding) as ended_before
    from reached
)
select program, version::integer as version, brand, arm, step_no::integer as step_no, day::integer as day, coalesce(content, '(end)') as content,
    outcome, count(*) as journeys
from alive
where ended_before = 0
group by all;

create table marts.campaign_step_report as
select program, version::integer as version, brand, step_no::integer as step_no, channel, 'treatment' as arm, day::integer as day, 'send' as kind, content,
    0::bigint as waiting, 0::bigint as on_its_way, count(*) as progressed, 0::bigint as withheld, 0::bigint as skipped, 0::bigint as skipped_condition,
    0::bigint as skipped_unreachable, 0::bigint as skipped_capped, 0::bigint as skipped_other,
    count(*) filter (chance('s' || message_id) < 0.99) as sent, count(*) filter (chance('s' || message_id) >= 0.99) as not_sent, 0::bigint as unknown,
    count(*) filter (chance('d' || message_id) < 0.97 and chance('s' || message_id) < 0.99) as reached,
    count(*) filter (chance('d' || message_id) < 0.95) as delivered, count(*) filter (chance('d' || message_id) < 0.4) as read,
    count(*) filter (chance('d' || message_id) < 0.09) as clicked, count(*) filter (chance('d' || message_id) < 0.01) as replied,
    count(*) filter (chance('d' || message_id) >= 0.97 and chance('s' || message_id) < 0.99) as bounced,
    count(*) filter (chance('d' || message_id) < 0.012) as unsubscribed, 0::bigint as complained,
    2 * count(*) filter (chance('d' || message_id) < 0.4) as read_times, count(*) filter (chance('d' || message_id) < 0.09) as click_times,
    count(*) filter (chance('d' || message_id) < 0.01) as reply_times, count(*) filter (chance('m' || message_id) < 0.3) as machine_read,
    count(*) filter (chance('m' || message_id) < 0.3) as machine_read_times, 0::bigint as machine_clicked, 0::bigint as machine_click_times,
    95.0 as delivered_percentage, 42.0 as read_percentage, 9.0 as clicked_percentage, 1.0 as replied_percentage, 2.0 as bounced_percentage,
    1.0 as unsubscribed_percentage
from messages
group by all;

create table tallied as
select case when grouping(program) = 1 then 'all' when grouping(version) = 0 then 'version' when grouping(enrolled_month) = 0 then 'cohort_month'
        else 'program' end as scope,
    coalesce(program, '(all)') as program, version, enrolled_month as cohort_month,
    count(*) filter (is_mature and arm = 'treatment' and holdout_percent > 0) as n1, count(*) filter (is_mature and arm = 'holdout') as n0,
    count(*) filter (not is_mature and arm = 'treatment') as i1, count(*) filter (not is_mature and arm = 'holdout') as i0,
    count(*) filter (is_mature and arm = 'treatment' and holdout_percent = 0) as alone,
    count(*) filter (is_mature and arm = 'treatment' and holdout_percent > 0 and purchased) as x1,
    count(*) filter (is_mature and arm = 'holdout' and purchased) as x0,
    coalesce(sum(order_value) filter (is_mature and arm = 'treatment' and holdout_percent > 0 and purchased), 0)::double as r1,
    coalesce(sum(order_value) filter (is_mature and arm = 'holdout' and purchased), 0)::double as r0,
    avg(holdout_percent) filter (holdout_percent > 0) as expected
from (select *, date_trunc('month', enrolled_at)::date as enrolled_month from walked)
group by grouping sets ((), (program), (program, version), (program, enrolled_month));

create table marts.campaign_lift as
with rates as (
    select *, x1 / nullif(n1, 0) as p1, x0 / nullif(n0, 0) as p0, r1 / nullif(n1, 0) as v1, r0 / nullif(n0, 0) as v0 from tallied
),
widths as (
    select *, 1.96 * sqrt(p1 * (1 - p1) / nullif(n1, 0) + p0 * (1 - p0) / nullif(n0, 0)) as w, p1 - p0 as d, v1 - v0 as e,
        1.96 * 25 * sqrt(1.0 / nullif(n1, 0) + 1.0 / nullif(n0, 0)) as z
    from rates
)
select scope, program, version::integer as version, cohort_month, n1 as treatment_enrolled, n0 as holdout_enrolled,
    i1 as treatment_immature, i0 as holdout_immature, alone as treatment_without_holdout, i1 + i0 = 0 as is_mature, case when i1 + i0 > 0 then date '2025-07-02' end as next_window_closes_on,
    x1 as treatment_purchased, x0 as holdout_purchased, 100 * p1 as treatment_percentage, 100 * p0 as holdout_percentage,
    100 * d as lift_points, 100 * (d - w) as lift_low, 100 * (d + w) as lift_high, 100 * (d - 1.7 * w) as lift_always_low,
    100 * (d + 1.7 * w) as lift_always_high, 100 * d / nullif(p0, 0) as relative_lift_percentage, 100 * (d - w) / nullif(p0, 0) as relative_lift_low,
    100 * (d + w) / nullif(p0, 0) as relative_lift_high, p1 as treatment_orders_per_enrolled, p0 as holdout_orders_per_enrolled,
    d as orders_difference, d - w as orders_difference_low, d + w as orders_difference_high,
    v1 as treatment_revenue_per_enrolled, v0 as holdout_revenue_per_enrolled, e as revenue_difference, e - z as revenue_difference_low,
    e + z as revenue_difference_high, 2.1 as revenue_t, 900.0 as revenue_df, e - 1.7 * z as revenue_always_low, e + 1.7 * z as revenue_always_high,
    100 * e / nullif(v0, 0) as relative_revenue_percentage, d * n1 as incremental_customers, (d - w) * n1 as incremental_customers_low,
    (d + w) * n1 as incremental_customers_high, e * n1 as incremental_revenue, (e - z) * n1 as incremental_revenue_low,
    (e + z) * n1 as incremental_revenue_high, d * n1 as incremental_orders, (x1 * 0.6)::bigint as attributed_orders, (r1 * 0.6)::decimal(18, 4) as attributed_revenue,
    (n1 * 0.03)::decimal(18, 4) as message_cost, 10::decimal(18, 4) as fixed_cost, (r1 * 0.03)::decimal(18, 4) as discounts,
    e * n1 * 0.4 as incremental_profit, e * 0.4 / nullif(d, 0) as profit_per_incremental_customer, 1.2 as cost_per_incremental_customer,
    expected as sample_ratio_expected_percent, 100.0 * n0 / nullif(n1 + n0, 0) as sample_ratio_actual_percent, 0.4 as sample_ratio_p_value,
    n0 > 0 as sample_ratio_ok
from widths;

create table marts.return_curves as
with entries as (
    select program, date_trunc('month', enrolled_at)::date as cohort_month, brand, arm, (date '2025-07-01' - enrolled_at::date)::integer as observed,
        case when has_order then days_to_purchase end as back
    from walked
),
counted as (
    select case when grouping(brand) = 1 then 'program' else 'cohort' end as scope, program, cohort_month, coalesce(brand, '(all)') as brand, arm,
        day::integer as day, count(*) as enrolled,
        count(*) filter (observed > day and (back is null or back >= day)) as at_risk, count(*) filter (observed > day and back = day) as returned
    from entries, range(91) as t(day)
    group by grouping sets ((program, arm, day), (program, cohort_month, brand, arm, day))
)
select *, case when at_risk > 0 then 100 * (1 - product(1 - returned / nullif(at_risk, 0)) over (
    partition by scope, program, cohort_month, brand, arm order by day)) end as returned_percentage
from counted;

create table marts.customer_tier_flows as
select (date '2025-07-01' - ago::integer)::date as date_day, brand, from_tier, to_tier,
    (case when from_tier = to_tier then 900 + 300 * length(to_tier) else 12 + 10 * chance(from_tier || to_tier || ago) end
        * case when brand = 'Greengate' then 1 else 0.4 end)::bigint as customers
from range(1, 121) as t(ago), (values ('Greengate'), ('Harbour & <Hill>')) as b(brand),
    (values ('active', 'active'), ('active', 'at_risk'), ('at_risk', 'active'), ('at_risk', 'at_risk'), ('at_risk', 'inactive'),
        ('inactive', 'active'), ('inactive', 'inactive'), ('(new)', 'active')) as f(from_tier, to_tier);

create table marts.audience_overview as
with sizes as (select * from (values ('(all customers)', 5200), ('customer_lapsed', 1400), ('past_own_cycle', 620)) as s(audience, size)),
sections as (select * from (values
    ('total', 'all', 1, 1.0), ('reachable', 'email', 1, 0.81), ('reachable', 'sms', 2, 0.33), ('reachable', 'push', 3, 0.18), ('reachable', 'ads', 4, 0.5),
    ('lifetime_spend_band', 'under 50', 1, 0.4), ('lifetime_spend_band', '50 to 200', 2, 0.35), ('lifetime_spend_band', '200 and more', 3, 0.25),
    ('country', 'DE', 1, 0.6), ('country', 'FR', 2, 0.4), ('brand', 'Greengate', 1, 0.7), ('brand', 'Harbour & <Hill>', 2, 0.3),
    ('sales_channel', 'web', 1, 0.8), ('sales_channel', 'store', 2, 0.3)) as s(section, value, position, share))
select audience, section, value, position::integer as position, (size * share)::bigint as customers, (size * share * 2.4)::bigint as orders_past_year,
    (size * share * 96.5)::decimal(18, 4) as revenue_past_year, 100.0 * share as customers_percentage
from sizes, sections;

create table marts.upcoming_steps as
select (date '2025-07-01' + (i % 8)::integer)::date as due_on, program, version::integer as version, brand, 1 + (i % 3)::integer as step_no, channel, arm,
    'send' as kind, ['we_miss_you', 'whats_new', 'last_chance'][1 + i % 3] as content, i % 8 = 0 as is_due, (5 + 20 * chance(program || brand || channel || arm || i))::bigint as journeys
from range(8) as t(i), dim, (values ('Greengate'), ('Harbour & <Hill>')) as b(brand),
    (values ('email', 'treatment'), ('sms', 'treatment'), ('email', 'holdout')) as c(channel, arm)
where is_in_force;

create table marts.winback_monthly as
select month::date as month, days::integer as lapse_threshold_days, 2000 as lapsed_customers, (150 + 40 * chance(month || '|' || days))::integer as won_back_customers,
    (150 + 40 * chance(month || '|' || days))::integer / 20.0 as win_back_percentage, 200 as returns, 190 as returned_customers,
    (month + interval 1 month)::date as window_closes_on, month < timestamp '2025-06-01' as is_mature
from range(timestamp '2024-07-01', timestamp '2025-07-01', interval 1 month) as t(month), (values (30), (60), (90), (180), (365)) as d(days);

create table marts.admission_waterfall as
select timestamp '2025-07-01' as as_of, program, version::integer as version, position::integer as position, reason, customers::bigint as customers
from dim, (values (1, 'suppressed', 12), (2, 'duplicate_contact', 3), (3, 'purchased_recently', 40), (10, 'unreachable', 85), (13, 'admitted', 64))
    as w(position, reason, customers)
where is_in_force;

create table marts.deliverability_daily as
with told as (
    select sent_at::date as sent_on, program, channel, case when channel <> 'email' then 'none' when chance('domain' || enrolment_id) < 0.6 then 'example.com' else 'example.org' end as domain,
        chance('d' || message_id) as fate, chance('m' || message_id) as machine
    from messages
)
select timestamp '2025-07-01' as as_of, sent_on, program, channel, domain, count(*) as sent, count(*) filter (fate < 0.97) as reached,
    count(*) filter (fate < 0.95) as delivered, count(*) filter (fate >= 0.97) as bounced, count(*) filter (fate between 0.95 and 0.96) as soft_bounced,
    0::bigint as dropped, count(*) filter (fate < 0.001) as complained, count(*) filter (fate < 0.012) as unsubscribed,
    count(*) filter (fate < 0.4) as opened, count(*) filter (fate >= 0.4 and machine < 0.3) as opened_by_machines_only,
    count(*) filter (fate < 0.09) as clicked, count(*) filter (fate < 0.01) as replied, 100.0 * count(*) filter (fate >= 0.97) / count(*) as bounced_percentage,
    100.0 * count(*) filter (fate < 0.001) / nullif(count(*) filter (fate < 0.97), 0) as complained_percentage,
    100.0 * count(*) filter (fate < 0.012) / nullif(count(*) filter (fate < 0.97), 0) as unsubscribed_percentage,
    case when channel = 'email' then 0.1 end as complaint_warning_percentage, case when channel = 'email' then 0.3 end as complaint_limit_percentage
from told
group by all;

drop table reached; drop table tallied; drop table walked; drop table orders; drop table messages; drop table journeys; drop table dim;
drop macro chance;
