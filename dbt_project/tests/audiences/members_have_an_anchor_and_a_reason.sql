-- Without an anchor there is no lapse episode: nothing would hold back a second entry, and no report could say what was won back.
select *
from {{ ref('int_audiences__members') }}
where customer_id is null or anchor_at is null or reason is null or lapse_days is null
