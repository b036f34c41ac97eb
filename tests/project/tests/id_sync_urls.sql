-- id_sync_url() with and without its optional parts.
with ids as (
    select
        'W/1 ü' as user_id,
        'https://example.com/?a=1&aam=${DD_UUID}' as target_url,
        'CP-x_1.2~A' as consent,
        cast(null as {{ dbt.type_string() }}) as no_text
),

final as (
    select
        {{ aam_onboard.id_sync_url(58342, 'user_id') }} as actual,
        'https://dpm.demdex.net/ibs:dpid=58342&dpuuid=W%2F1%20%C3%BC' as expected
    from ids

    union all

    select
        {{ aam_onboard.id_sync_url('58342', 'user_id', redirect='target_url') }} as actual,
        'https://dpm.demdex.net/ibs:dpid=58342&dpuuid=W%2F1%20%C3%BC'
        || '&redir=https%3A%2F%2Fexample.com%2F%3Fa%3D1%26aam%3D${DD_UUID}' as expected
    from ids

    union all

    select
        {{ aam_onboard.id_sync_url(
            58342, 'user_id', redirect="'https://example.com/'", gdpr=1, gdpr_consent='consent'
        ) }} as actual,
        'https://dpm.demdex.net/ibs:dpid=58342&dpuuid=W%2F1%20%C3%BC&gdpr=1&gdpr_consent=CP-x_1.2~A'
        || '&redir=https%3A%2F%2Fexample.com%2F' as expected
    from ids

    union all

    select
        {{ aam_onboard.id_sync_url(58342, 'user_id', gdpr=1, gdpr_consent='no_text') }} as actual,
        'https://dpm.demdex.net/ibs:dpid=58342&dpuuid=W%2F1%20%C3%BC' as expected
    from ids

    union all

    select
        {{ aam_onboard.id_sync_url(58342, 'no_text') }} as actual,
        null as expected
    from ids
)

select * from final
where actual is distinct from expected
