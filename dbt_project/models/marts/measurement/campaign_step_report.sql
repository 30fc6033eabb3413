{%- set skip_reasons = ['condition', 'unreachable', 'capped'] -%}

with journeys as (
    select * from {{ ref('fct_enrolments') }}
),

stands as (
    select
        journeys.program,
        journeys.version,
        journeys.brand,
        steps.step_no,
        steps.channel,
        journeys.arm,
        steps.decision,
        steps.reason,
        steps.message_id,
        coalesce(resolved.is_resolved, false) as is_resolved
    from journeys
    inner join {{ ref('stg_ledger__steps') }} as steps on journeys.enrolment_id = steps.enrolment_id
    left join {{ ref('int_journeys__steps_resolved') }} as resolved
        on steps.enrolment_id = resolved.enrolment_id and steps.step_no = resolved.step_no

    union all

    -- Nothing has been decided yet about the step that a journey stands before.
    select
        program,
        version,
        brand,
        next_step_no as step_no,
        cast(null as {{ type_text() }}) as channel,
        arm,
        'waiting' as decision,
        cast(null as {{ type_text() }}) as reason,
        cast(null as {{ type_text() }}) as message_id,
        false as is_resolved
    from journeys
    where next_step_no is not null
),

counted as (
    select
        stands.program,
        stands.version,
        stands.brand,
        stands.step_no,
        {{ or_none('stands.channel') }} as channel,
        stands.arm,
        count(case when stands.decision = 'waiting' then 1 end) as waiting,
        count(case when stands.decision = 'queued' and not stands.is_resolved and messages.sent_at is null then 1 end) as on_its_way,
        count(case when stands.is_resolved then 1 end) as progressed,
        count(case when stands.decision = 'withheld' then 1 end) as withheld,
        count(case when stands.decision = 'skipped' then 1 end) as skipped,
        {%- for reason in skip_reasons %}
        count(case when stands.decision = 'skipped' and stands.reason = '{{ reason }}' then 1 end) as skipped_{{ reason }},
        {%- endfor %}
        count(
            case
                when stands.decision = 'skipped' and coalesce(stands.reason, '') not in ('{{ skip_reasons | join("', '") }}') then 1  -- noqa: LT05
            end
        ) as skipped_other,
        count(messages.sent_at) as sent,
        count(case when stands.decision = 'queued' and stands.is_resolved and messages.sent_at is null then 1 end) as not_sent,
        count(case when messages.outcome = 'unknown' and messages.sent_at is null then 1 end) as unknown,
        count(case when messages.sent_at is not null and messages.bounced_at is null then 1 end) as reached,
        count(messages.delivered_at) as delivered,
        count(messages.read_at) as read,
        count(messages.clicked_at) as clicked,
        count(messages.replied_at) as replied,
        count(messages.bounced_at) as bounced,
        count(messages.unsubscribed_at) as unsubscribed,
        count(messages.complained_at) as complained,
        cast(coalesce(sum(messages.read_times), 0) as bigint) as read_times,
        cast(coalesce(sum(messages.click_times), 0) as bigint) as click_times,
        cast(coalesce(sum(messages.reply_times), 0) as bigint) as reply_times,
        count(case when messages.machine_read_times > 0 then 1 end) as machine_read,
        cast(coalesce(sum(messages.machine_read_times), 0) as bigint) as machine_read_times,
        count(case when messages.machine_click_times > 0 then 1 end) as machine_clicked,
        cast(coalesce(sum(messages.machine_click_times), 0) as bigint) as machine_click_times
    from stands
    left join {{ ref('fct_messages') }} as messages on stands.message_id = messages.message_id
    group by stands.program, stands.version, stands.brand, stands.step_no, {{ or_none('stands.channel') }}, stands.arm
)

select
    counted.program,
    counted.version,
    counted.brand,
    counted.step_no,
    counted.channel,
    counted.arm,
    steps.day,
    steps.kind,
    steps.content,
    counted.waiting,
    counted.on_its_way,
    counted.progressed,
    counted.withheld,
    counted.skipped,
    {%- for reason in skip_reasons %}
    counted.skipped_{{ reason }},
    {%- endfor %}
    counted.skipped_other,
    counted.sent,
    counted.not_sent,
    counted.unknown,
    counted.reached,
    counted.delivered,
    counted.read,
    counted.clicked,
    counted.replied,
    counted.bounced,
    counted.unsubscribed,
    counted.complained,
    counted.read_times,
    counted.click_times,
    counted.reply_times,
    counted.machine_read,
    counted.machine_read_times,
    counted.machine_clicked,
    counted.machine_click_times,
    {%- for part in ['delivered', 'bounced'] %}
    100.0 * cast(counted.{{ part }} as {{ type_double() }}) / nullif(counted.sent, 0) as {{ part }}_percentage,
    {%- endfor %}
    {%- for part in ['read', 'clicked', 'replied', 'unsubscribed'] %}
    100.0 * cast(counted.{{ part }} as {{ type_double() }}) / nullif(counted.reached, 0) as {{ part }}_percentage
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
from counted
left join {{ ref('stg_programs__steps') }} as steps
    on
        counted.program = steps.program
        and counted.version = steps.version
        and counted.step_no = steps.step_no
