-- percent_encode() and back: RFC 3986 leaves letters, digits, - . _ ~ and nothing else; texts are UTF-8.
{%- set vectors = [
    ['AZaz09-._~', 'AZaz09-._~'],
    ['W/00001', 'W%2F00001'],
    ['a b+c*d', 'a%20b%2Bc%2Ad'],
    ['100%', '100%25'],
    ['%41', '%2541'],
    ['Müller', 'M%C3%BCller'],
    ['日本', '%E6%97%A5%E6%9C%AC'],
    ['\U0001f600', '%F0%9F%98%80'],
    ['a\tb\nc', 'a%09b%0Ac'],
    ["it\'s", 'it%27s'],
    ['', ''],
] -%}
{#- read as they are: bytes that are no UTF-8, a NUL, and % without two hex digits -#}
{%- set undecodable = ['%FF', 'a%c3%28', '%ED%A0%80', '%C0%80', '%F4%90%80%80', 'a%00b', '%', '%4', '%zz'] %}
with vectors as (
    {%- for plain_text, encoded_text in vectors %}
    select
        {{ aam_onboard.text_literal(plain_text) }} as plain_text,
        {{ aam_onboard.text_literal(encoded_text) }} as encoded_text
    union all
    {%- endfor %}
    select
        null as plain_text,
        null as encoded_text
),

undecodable as (
    {%- for text in undecodable %}
    select {{ aam_onboard.text_literal(text) }} as encoded_text
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

final as (
    select
        'encode' as way,
        encoded_text as expected,
        {{ aam_onboard.percent_encode('plain_text') }} as actual
    from vectors

    union all

    select
        'decode' as way,
        plain_text as expected,
        {{ aam_onboard.percent_decode('encoded_text') }} as actual
    from vectors

    union all

    select
        'decode lower-case digits' as way,
        'ü/' as expected,
        {{ aam_onboard.percent_decode("'%c3%bc%2f'") }} as actual

    union all

    select
        'leave' as way,
        encoded_text as expected,
        {{ aam_onboard.percent_decode('encoded_text') }} as actual
    from undecodable
)

select * from final
where actual is distinct from expected
