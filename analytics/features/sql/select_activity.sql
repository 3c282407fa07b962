-- grain:   patient x local date
-- inputs:  local_day, observations_step_count, observations_heart_rate, observations_sleep_stage,
--          observations_rr_interval, observations_wear
-- output:  patient, local_date, steps, worn_min, not_worn_min, step_devices
-- args:    $first_utc, $last_utc: the dates wanted, from the first local midnight to the last
--
-- Worn minute: touched by a step slot, a heart rate, a sleep epoch of known stage or an RR run. Where a
-- device counts steps on that date, only devices that do are asked: a chest strap worn at night does not
-- vouch for a band that lay on the table. The device's own "not worn" outweighs its step slots and sleep
-- epochs (a band on the table may count 0 steps), never a pulse. A minute nobody speaks of is unknown.
--
-- Steps of several devices: quarter hour by quarter hour from the one that covers most of it.
with slot as (
    select patient, device, start_utc, end_utc, false as has_pulse from observations_step_count
    union all
    select patient, device, start_utc, end_utc, false from observations_sleep_stage where stage > 0
    union all
    select patient, device, start_utc, end_utc, true from observations_heart_rate where bpm > 0
    union all
    select patient, device, start_utc, end_utc, true from observations_rr_interval
),
span as (
    select
        patient,
        device,
        has_pulse,
        epoch_us(start_utc) // 60000000 as first_minute,
        (epoch_us(end_utc) - 1) // 60000000 as last_minute
    from slot
    where end_utc > $first_utc and start_utc < $last_utc and patient in (select patient from local_day)
),
touched as (
    select patient, device, has_pulse, first_minute as minute from span
    union all
    select patient, device, has_pulse, unnest(range(first_minute + 1, last_minute + 1))
    from span
    where last_minute > first_minute
),
spoken as (
    select patient, device, minute, bool_or(has_pulse) as has_pulse from touched group by all
),
denied as (
    select distinct
        patient,
        device,
        unnest(range(epoch_us(start_utc) // 60000000, (epoch_us(end_utc) - 1) // 60000000 + 1)) as minute
    from observations_wear
    where not is_worn and end_utc > $first_utc and start_utc < $last_utc
),
judged as (
    select
        coalesce(s.patient, d.patient) as patient,
        coalesce(s.device, d.device) as device,
        coalesce(s.minute, d.minute) as minute,
        s.minute is not null and (s.has_pulse or d.minute is null) as is_worn
    from spoken s full join denied d using (patient, device, minute)
),
dated as (
    select d.patient, d.local_date, j.device, j.minute, j.is_worn
    from judged j asof join local_day d on j.patient = d.patient and j.minute >= d.start_minute
    where j.minute < d.end_minute
),
step_slot as (
    select d.patient, d.local_date, s.device, s.start_utc, s.end_utc, s.steps
    from observations_step_count s asof join local_day d
        on s.patient = d.patient and s.start_utc >= d.start_utc
    where s.start_utc < d.end_utc and s.start_utc >= $first_utc and s.start_utc < $last_utc
),
quarter as (
    select
        patient,
        local_date,
        device,
        epoch_us(start_utc) // 900000000 as segment,
        sum(steps) as steps,
        sum(epoch_us(end_utc) - epoch_us(start_utc)) as covered
    from step_slot
    group by all
),
best as (
    select * from quarter
    qualify row_number() over (
        partition by patient, local_date, segment order by covered desc, steps desc, device
    ) = 1
),
walked as (
    select
        patient,
        local_date,
        sum(steps)::double as steps,
        string_agg(distinct device, '+' order by device) as step_devices
    from best
    group by all
),
counting as (
    select distinct patient, local_date, device from quarter
),
minute_state as (
    select j.patient, j.local_date, j.minute, bool_or(j.is_worn) as is_worn
    from dated j
    left join counting c using (patient, local_date, device)
    left join walked w using (patient, local_date)
    where c.device is not null or w.steps is null
    group by all
),
wear as (
    select
        patient,
        local_date,
        count(*) filter (is_worn)::double as worn_min,
        count(*) filter (not is_worn)::double as not_worn_min
    from minute_state
    group by all
)
select
    d.patient,
    d.local_date,
    walked.steps,
    coalesce(wear.worn_min, 0.0) as worn_min,
    coalesce(wear.not_worn_min, 0.0) as not_worn_min,
    walked.step_devices
from local_day d
left join walked using (patient, local_date)
left join wear using (patient, local_date)
order by d.patient, d.local_date
