-- grain:   sample, as a span of UTC minutes
-- inputs:  wearing (pair, patient, device), observations_step_count, observations_heart_rate,
--          observations_sleep_stage, observations_rr_interval, observations_wear
-- output:  pair, what (0 steps, 1 pulse, 2 awake, 3 asleep, 4 "not worn"), first_minute, span_min, steps
-- args:    $first_utc, $last_utc: the dates wanted, from the first local midnight to the last
with sample as (
    select patient, device, start_utc, end_utc, 0 as what, steps from observations_step_count
    union all
    select patient, device, start_utc, end_utc, 1, 0 from observations_heart_rate where bpm > 0
    union all
    select patient, device, start_utc, end_utc, 1, 0 from observations_rr_interval
    union all
    select patient, device, start_utc, end_utc, if(stage = 1, 2, 3), 0
    from observations_sleep_stage
    where stage > 0
    union all
    select patient, device, start_utc, end_utc, 4, 0 from observations_wear where not is_worn
)
select
    w.pair,
    s.what,
    -- counted steps fill as many minutes as they took, also those of a date before; whatever else touches
    -- a minute speaks for it
    epoch_us(if(s.what = 0, s.start_utc, greatest(s.start_utc, $first_utc))) // 60000000 as first_minute,
    if(
        s.what = 0,
        (epoch_us(s.end_utc) - epoch_us(s.start_utc) + 59999999) // 60000000,
        (epoch_us(least(s.end_utc, $last_utc)) - 1) // 60000000
        - epoch_us(greatest(s.start_utc, $first_utc)) // 60000000 + 1
    ) as span_min,
    s.steps
from sample s join wearing w using (patient, device)
where s.end_utc > $first_utc and s.start_utc < $last_utc and s.end_utc > s.start_utc
