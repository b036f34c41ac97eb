-- A row a run, with what came of it.
with runs as (
    select * from {{ ref('runs') }}
),

final as (
    select
        run_id,
        command,
        arguments,
        target,
        destination,
        version,
        {{ utc_day('started_at') }} as day,
        started_at,
        ended_at,
        seconds,
        exit_code,
        outcome,
        reason,
        deliveries,
        files,
        lines,
        bytes,
        rejected,
        steps,
        figures
    from runs
)

select * from final
