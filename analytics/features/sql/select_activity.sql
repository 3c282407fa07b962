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
-- Steps of several devices: quarter hour by quarter hour from the one that covers most of it. Minutes are
-- bits of their quarter hour (every zone's midnight falls on one), which keeps the sets small.
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
piece as (
    select *, first_minute // 15 as quarter from span where first_minute // 15 = last_minute // 15
    union all
    select *, unnest(range(first_minute // 15, last_minute // 15 + 1)) as quarter
    from span
    where first_minute // 15 < last_minute // 15
),
touched as (
    select
        patient,
        device,
        quarter,
        has_pulse,
        (1 << (least(last_minute - 15 * quarter, 14) + 1)::int)
        - (1 << greatest(first_minute - 15 * quarter, 0)::int) as minutes
    from piece
),
spoken as (
    select
        patient,
        device,
        quarter,
        coalesce(bit_or(minutes) filter (has_pulse), 0) as with_pulse,
        coalesce(bit_or(minutes) filter (not has_pulse), 0) as without_pulse
    from touched
    group by all
),
off_span as (
    select
        patient,
        device,
        epoch_us(start_utc) // 60000000 as first_minute,
        (epoch_us(end_utc) - 1) // 60000000 as last_minute
    from observations_wear
    where not is_worn and end_utc > $first_utc and start_utc < $last_utc
        and patient in (select patient from local_day)
),
off_piece as (
    select *, unnest(range(first_minute // 15, last_minute // 15 + 1)) as quarter from off_span
),
denied as (
    select
        patient,
        device,
        quarter,
        bit_or(
            (1 << (least(last_minute - 15 * quarter, 14) + 1)::int)
            - (1 << greatest(first_minute - 15 * quarter, 0)::int)
        ) as off
    from off_piece
    group by all
),
judged as (
    select
        patient,
        device,
        quarter,
        coalesce(s.with_pulse, 0) | (coalesce(s.without_pulse, 0) & ~coalesce(d.off, 0)) as worn,
        coalesce(d.off, 0) & ~coalesce(s.with_pulse, 0) as not_worn
    from spoken s full join denied d using (patient, device, quarter)
),
counted as (
    select
        patient,
        device,
        epoch_us(start_utc) // 900000000 as quarter,
        sum(steps) as steps,
        sum(epoch_us(end_utc) - epoch_us(start_utc)) as covered
    from observations_step_count
    where start_utc >= $first_utc and start_utc < $last_utc and patient in (select patient from local_day)
    group by all
),
dated as (
    select d.patient, d.local_date, q.device, q.quarter, q.worn, q.not_worn, c.steps, c.covered
    from judged q
    left join counted c using (patient, device, quarter)
    asof join local_day d on q.patient = d.patient and q.quarter * 15 >= d.start_minute
    where q.quarter * 15 < d.end_minute
),
judging as (
    select *
    from dated
    qualify bool_or(steps is not null) over (partition by patient, local_date, device)
        or not bool_or(steps is not null) over (partition by patient, local_date)
),
merged as (
    select
        patient,
        local_date,
        quarter,
        bit_or(worn) as worn,
        bit_or(not_worn) as not_worn,
        arg_max(steps, (covered, steps, device)) as steps,
        arg_max(device, (covered, steps, device)) filter (steps is not null) as step_device
    from judging
    group by all
),
daily as (
    select
        patient,
        local_date,
        sum(steps)::double as steps,
        sum(bit_count(worn))::double as worn_min,
        sum(bit_count(not_worn & ~worn))::double as not_worn_min,
        string_agg(distinct step_device, '+' order by step_device) as step_devices
    from merged
    group by all
)
select
    d.patient,
    d.local_date,
    a.steps,
    coalesce(a.worn_min, 0.0) as worn_min,
    coalesce(a.not_worn_min, 0.0) as not_worn_min,
    a.step_devices
from local_day d left join daily a using (patient, local_date)
order by d.patient, d.local_date
