{# Statistics of experiments, in SQL that gives the same on every engine. The mart campaign_lift is written with these, and the simulations
   in tests/measurement run that very mart. All arguments are SQL expressions; counts and sums are made double before they are multiplied. #}

{# The standard normal's quantile at 97.5%: what "95%" means in every interval. #}
{% macro normal_quantile() %}1.959963984540054{% endmacro %}

{# A polynomial in `x`, coefficients from the constant on, by Horner's rule. #}
{% macro polynomial(x, coefficients) -%}
    {%- set nested = namespace(text=coefficients[-1] | string) -%}
    {%- for coefficient in coefficients[:-1] | reverse -%}
        {%- set nested.text = "(" ~ coefficient ~ " + " ~ x ~ " * " ~ nested.text ~ ")" -%}
    {%- endfor -%}
    {{ nested.text }}
{%- endmacro %}

{# Student's t quantile at 97.5% for `df` degrees of freedom from 1 on, fractions too. A Chebyshev fit (degree 12, turned into powers) of the
   logarithm over 1 / df; the relative error is below 2e-9 from 1 to a million, which tests/measurement/test_statistics.py holds against scipy. #}
{% macro t_quantile(df) -%}
    exp({{ polynomial("(1.0 / " ~ df ~ ")", [
        0.6729260963456, 1.210365201076, 0.707558613223, 0.1526153481105, -0.2365763709021, -0.07213833351389, 0.2385501734322,
        -0.4231331254515, 0.8035635684824, -0.9859427625104, 0.6982194058666, -0.2671953671206, 0.04327799028975
    ]) }})
{%- endmacro %}

{# Two-sided p-value of a standard normal `z`: erfc(|z| / sqrt 2), by a Chebyshev fit (degree 12) of log(erfc(x) exp(x^2) / t) over
   t = 2 / (2 + x). Relative error below 1e-8 for |z| up to 36. Null for null. #}
{% macro two_sided_p_value(z) -%}
    {#- Beyond 36 standard errors the value is below 1e-280, which PostgreSQL would refuse to compute. `least` would pass over a null. -#}
    {%- set x = "(case when abs(" ~ z ~ ") < 36.0 then abs(" ~ z ~ ") when " ~ z ~ " is not null then 36.0 end / 1.4142135623730951)" -%}
    {%- set t = "(2.0 / (2.0 + " ~ x ~ "))" -%}
    {{ t }} * exp(-{{ x }} * {{ x }} + {{ polynomial(t, [
        -1.265512113085, 0.9999975743284, 0.3751242218315, 0.08071500952789, -0.05697264616163, -0.3335187855267, 0.6923985169409,
        -2.067151824216, 3.725038609163, -3.586794819216, 1.904794399446, -0.5258405227204, 0.05772237592942
    ]) }})
{%- endmacro %}

{# The lower (sign -1) or upper (1) end of Wilson's score interval for `x` of `n`, as a share. E. B. Wilson, JASA 22 (1927). #}
{% macro wilson_bound(x, n, sign) -%}
    {%- set z = normal_quantile() -%}
    (2.0 * {{ x }} + {{ z }} * {{ z }} + {{ sign }} * {{ z }} * sqrt({{ z }} * {{ z }} + 4.0 * {{ x }} * (1.0 - {{ x }} / {{ n }})))
    / (2.0 * ({{ n }} + {{ z }} * {{ z }}))
{%- endmacro %}

{# The sample variance of a measure from its count, sum and sum of squares, none below zero by rounding. #}
{% macro sample_variance(n, total, squares) -%}
    greatest({{ n }} * {{ squares }} - {{ total }} * {{ total }}, 0.0) / nullif({{ n }} * ({{ n }} - 1.0), 0.0)
{%- endmacro %}

{# Half the width of an interval that holds at every look at once with 95% (a confidence sequence), for an estimate with estimated variance
   `variance` from `n` observations: the normal mixture of Robbins (1970), as in the mixture test of Johari, Koomen, Pekelis and Walsh
   ("Always valid inference", Operations Research 70, 2022), with the mixing variance in units of the observations' own
   (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
   Annals of Statistics 52, 2024, theorem 2.2). It is tightest at `always_valid_planned_customers` observations, and valid at any number. #}
{% macro always_valid_half_width(variance, n) -%}
    {%- set alpha = 0.05 -%}
    {#- Their equation for the mixing variance that is best at a planned number: -2 log(0.05) + log(-2 log(0.05) + 1) = 7.936155. -#}
    {%- set mixing = 7.936155 / var("always_valid_planned_customers") -%}
    {%- set information = "(" ~ n ~ " * " ~ mixing ~ " + 1.0)" -%}
    sqrt({{ variance }} * 2.0 * {{ information }} / ({{ n }} * {{ mixing }}) * ln(sqrt({{ information }}) / {{ alpha }}))
{%- endmacro %}
