-- Vectors of hashed_email(): the text, what it is normalised to, and the SHA-256 of that by Python's hashlib.
{%- set vectors = [
    ['test@example.com', 'test@example.com', '973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b'],
    ['  Test@Example.COM ', 'test@example.com', '973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b'],
    ['\t\u00a0\u3000TEST@example.com\u200b\ufeff\r\n', 'test@example.com', '973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b'],
    ['JÜRGEN.WEIß@EXAMPLE.ORG', 'jürgen.weiß@example.org', 'c2670da86f095956805c1734b50618cee7d340edb6d441d47213901595c3de17'],
    ['ŁUCJA@example.com', 'łucja@example.com', 'c4939d5ce61549c157cab339cfff906fd3d60fa561e4df39d508e20690673404'],
    ['ДМИТРИЙ@example.com', 'дмитрий@example.com', '45061d3c3c20f989d23da32cf83f397330fd44d57f840f5f4e3c6421dd989a08'],
    ['İPEK@example.com', 'i\u0307pek@example.com', '6182afdc2043b443215baea80e61a943f11d6fc4dc61e1c5834aae320fb8c91f'],
    ['ISIK@example.com', 'isik@example.com', '725c37d852b0ced0b0504b8d18fa0f06a883061f2468b096a366bbf32f681ec3'],
    ['ΟΔΥΣΣΕΥΣ@example.com', 'οδυσσευσ@example.com', '1afc4be3e6af1d3027924e247e3940a32349181cdfd0e06e0dce5c11765f495d'],
    ['ab c@example.com', 'ab c@example.com', 'db934ec6f5e6f5cd51701d6bc178ccec7118b21db198ebbf7250706b72e04f23'],
    ['', none, none],
    ['  \u00a0', none, none],
    [none, none, none],
] %}
with vectors as (
    {%- for email, _, expected in vectors %}
    select
        cast({{ 'null' if email is none else aam_onboard.text_literal(email) }} as {{ dbt.type_string() }}) as email,
        {{ 'null' if expected is none else aam_onboard.text_literal(expected) }} as expected
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

final as (
    select
        email,
        expected,
        {{ aam_onboard.hashed_email('email') }} as actual
    from vectors
)

select * from final
where actual is distinct from expected
