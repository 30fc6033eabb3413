{#- The calendar begins with the first purchase and reaches past as_of, for what is due next. -#}
with bounds as (
    select coalesce(min(first_ordered_on), {{ as_of_date() }}) as first_date
    from {{ ref('int_customers__profiled') }}
),

lengths as (
    select
        first_date,
        {{ days_between('first_date', days_after(as_of_date(), var('calendar_days_ahead'))) }} as days
    from bounds
),

numbers as (
    {{ numbers_up_to('(select lengths.days from lengths)') }}
),

dates as (
    select {{ days_after('lengths.first_date', 'numbers.number') }} as date_day
    from lengths
    cross join numbers
)

select
    date_day,
    {{ week_start('date_day') }} as week,
    {{ month_start('date_day') }} as month,
    {{ quarter_start('date_day') }} as quarter,
    cast(extract(year from date_day) as integer) as year,
    {{ days_between(week_start('date_day'), 'date_day') }} + 1 as iso_weekday,
    date_day < {{ as_of_date() }} as is_past
from dates
