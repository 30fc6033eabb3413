{# A preview names one program whose file is taken as it stands, in place of its version; elsewhere WINBACK_DRAFTS is empty. #}
{% macro draft_asked_for(program) %}
    {%- set asked_for = env_var("WINBACK_DRAFTS", "") -%}
    {{ program ~ " = '" ~ asked_for ~ "'" if asked_for else "false" }}
{%- endmacro %}

{% macro is_preview() %}{{ "true" if env_var("WINBACK_DRAFTS", "") else "false" }}{% endmacro %}

{# The gates of admission, in the order in which they are asked. The first that is true is the reason for staying out. #}
{% macro gates() %}
    {{ return([
        "suppressed", "duplicate_contact", "purchased_recently", "engaged_recently", "already_enrolled", "same_episode", "reentry_wait",
        "max_entries", "higher_priority_program", "unreachable", "not_entry_day", "daily_cap"
    ]) }}
{% endmacro %}

{# What becomes of a candidate, in that order: kept out by a gate, or admitted. #}
{% macro reasons() %}{{ return(gates() + ["admitted"]) }}{% endmacro %}

{# Over the gates' columns: the name of the first that is true, else null. #}
{% macro first_failing_gate(left_out=[]) %}
    case {% for gate in gates() if gate not in left_out %}when {{ gate }} then '{{ gate }}' {% endfor %}end
{%- endmacro %}

{# A select of `position` and `reason`: the gates in order, and admitted at the end. #}
{% macro reasons_in_order() %}
    {%- for reason in reasons() -%}
        select {{ loop.index }} as position, '{{ reason }}' as reason{{ "" if loop.last else " union all " }}
    {%- endfor -%}
{% endmacro %}

{# A gate's place in that order, from 1; that of `admitted` is the last. #}
{% macro gate_no(gate) %}{{ return(reasons().index(gate) + 1) }}{% endmacro %}

{# The place of the gate that a column names, and the name of the one whose place it holds. #}
{% macro gate_number(name) %}
    case {{ name }} {% for gate in gates() %}when '{{ gate }}' then {{ gate_no(gate) }} {% endfor %}end
{%- endmacro %}

{% macro gate_name(number) %}
    case {{ number }} {% for gate in gates() %}when {{ gate_no(gate) }} then '{{ gate }}' {% endfor %}end
{%- endmacro %}

{# Calendar days from the date of one instant to the date of another. #}
{% macro days_from(earlier, later) %}{{ days_between("cast(" ~ earlier ~ " as date)", "cast(" ~ later ~ " as date)") }}{% endmacro %}

{# Whether customers enter on the date of as_of. Biweekly programs count weeks from a Monday, so that the rhythm survives outages. #}
{% macro is_entry_day(cadence, weekday) %}
    {%- set as_of_day = modules.datetime.date.fromisoformat(env_var("WINBACK_AS_OF")[:10]) -%}
    {%- set weeks = (as_of_day - modules.datetime.date.fromisoformat("1970-01-05")).days // 7 -%}
    case {{ cadence }}
        when 'weekly' then {{ weekday }} = {{ as_of_day.isoweekday() }}
        when 'biweekly' then {{ weekday }} = {{ as_of_day.isoweekday() }} and {{ "true" if weeks % 2 == 0 else "false" }}
        else true
    end
{%- endmacro %}

{# The audience's own bound on lapse_days (`from` or `below`), for programs that name none: another program that asks for more widens the
   audience, not them. Audiences without such a var have no bound of their own. #}
{% macro own_lapse_days(audience, bound) %}
    {%- set known = [] -%}
    {%- for name in env_var("WINBACK_AUDIENCES", "").split(",") if var(name ~ "_" ~ bound ~ "_days", none) is not none -%}
        {%- do known.append("when '" ~ name ~ "' then " ~ var(name ~ "_" ~ bound ~ "_days")) -%}
    {%- endfor -%}
    {{ "case " ~ audience ~ " " ~ known | join(" ") ~ " end" if known else "cast(null as integer)" }}
{%- endmacro %}
