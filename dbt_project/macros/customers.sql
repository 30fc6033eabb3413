{#- What stg_shop__customers holds of the customers for whom `where` is true. -#}
{% macro cleaned_customers(where) %}
    select
        customer_id,
        {{ normal_email('email') }} as email,
        {{ normal_phone('phone') }} as phone,
        nullif(trim(first_name), '') as first_name,
        nullif(trim(last_name), '') as last_name,
        upper(nullif(trim(country), '')) as country,
        nullif(trim(timezone), '') as timezone,
        nullif(trim(language), '') as language,
        nullif(trim(brand), '') as brand,
        created_at,
        extras
    from {{ source('raw', 'customers') }}
    where (created_at < {{ as_of() }} or created_at is null) and {{ where }}
{%- endmacro %}

{#- In place of a `select` from stg_shop__customers: of the customers that this build derives. Engines clean all rows of the view before they look
    whose they are; so theirs are chosen first. -#}
{% macro touched_customers(touched="int_customers__touched") %}
    {%- set everybody = ref("stg_shop__customers") -%}
    {%- if execute and not is_of_touched() -%}
        select * from {{ everybody }}
    {%- else -%}
        {{ cleaned_customers(of_touched(touched=touched)) }}
    {%- endif -%}
{% endmacro %}
