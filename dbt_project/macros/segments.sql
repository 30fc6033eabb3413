{# Names of the segments, read from the one file that defines them: `<condition> as <segment>` in the last select. #}
{% macro segment_names() %}
    {%- set names = [] -%}
    {%- if execute -%}
        {%- set node = graph.nodes.values() | selectattr("name", "equalto", "int_customers__segmented") | first -%}
        {%- set last_select = modules.re.split("(?mi)^select\\b", node.raw_code) | last -%}
        {%- for name in modules.re.findall("(?mi)^(?!\\s*--).*\\bas\\s+([a-z_][a-z0-9_]*)\\s*,?\\s*(?:--.*)?$", last_select) -%}
            {%- do names.append(name) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(names) }}
{% endmacro %}

{# Whether a customer is in the segment that `segment` names, over `segments`, the customer's row of int_customers__segmented. #}
{% macro is_in_segment(segment, segments) -%}
    coalesce(case {{ segment }} {% for name in segment_names() %}when '{{ name }}' then {{ segments }}.{{ name }} {% endfor %}else false end, false)
{%- endmacro %}
