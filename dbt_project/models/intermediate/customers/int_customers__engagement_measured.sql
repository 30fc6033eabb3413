{{ passed_on() }}

select
    customer_id,
    max(last_opened_at) as last_opened_at,
    max(last_clicked_at) as last_clicked_at,
    max(last_replied_at) as last_replied_at,
    max(last_email_engaged_at) as last_email_engaged_at,
    max(last_visited_at) as last_visited_at,
    max(last_used_at) as last_used_at
from {{ touched_rows('int_engagement__periods') }}
group by customer_id
