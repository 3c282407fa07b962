-- grain:   patient x metric
-- inputs:  patient_day, metric_scale, suspension, segment_break
-- output:  patient, metric, value, center, scale, baseline_count, z, recent_count
-- args:    $today
-- look-back: 35 days
--
-- Deviation of one date from the patient's own baseline; the compiled twin is
-- analytics.risk.baseline_kernel. A day of another device segment is no baseline.
with day as (
    select
        patient, local_date, device_segment,
        -- a sum over a date that a move between zones made longer or shorter is compared with no other
        case when abs(day_minutes - 1440) <= 60 or day_minutes is null then steps end as steps,
        tst_min, waso_min, midpoint_h, resting_hr_bpm, rmssd_ms, nrs, mood
    from patient_day
    where local_date between $today - 35 and $today
),
-- a few texts name the devices of all days: taken apart once, to numbers
part as (
    select
        t.device_segment,
        split_part(p.part, '=', 1) as stream,
        1000000 * dense_rank() over (order by split_part(p.part, '=', 2)) as code
    from (select distinct device_segment from day where device_segment is not null) t,
        unnest(string_split(t.device_segment, ' ')) p(part)
),
device as (
    select
        device_segment,
        max(code) filter (stream = 'steps') as steps_code,
        max(code) filter (stream = 'sleep') as sleep_code,
        max(code) filter (stream = 'hrv') as hrv_code,
        max(code) filter (stream = 'pulse') as pulse_code
    from part
    group by all
),
broken as (
    select
        d.patient,
        d.local_date,
        count(*) filter (b.stream = 'steps') as steps_breaks,
        count(*) filter (b.stream = 'sleep') as sleep_breaks,
        count(*) filter (b.stream = 'hrv') as hrv_breaks,
        count(*) filter (b.stream = 'pulse') as pulse_breaks
    from segment_break b join day d on d.patient = b.patient and b.break_date <= d.local_date
    group by all
),
away as (
    select distinct d.patient, d.local_date, true as is_away
    from suspension s join day d on d.patient = s.patient and d.local_date between s.first_date and s.last_date
),
placed as (
    select
        d.* exclude device_segment,
        v.steps_code + coalesce(b.steps_breaks, 0) as steps_segment,
        v.sleep_code + coalesce(b.sleep_breaks, 0) as sleep_segment,
        v.hrv_code + coalesce(b.hrv_breaks, 0) as hrv_segment,
        v.pulse_code + coalesce(b.pulse_breaks, 0) as pulse_segment,
        coalesce(a.is_away, false) as is_away
    from day d
    left join device v using (device_segment)
    left join broken b using (patient, local_date)
    left join away a using (patient, local_date)
),
-- the segment in force is that of the last day on which one spoke, suspended or not
present as (
    select
        patient,
        max_by(steps_segment, local_date) as steps_now,
        max_by(sleep_segment, local_date) as sleep_now,
        max_by(hrv_segment, local_date) as hrv_now,
        max_by(pulse_segment, local_date) as pulse_now
    from placed
    group by all
),
own as (
    select
        p.* exclude (steps_segment, sleep_segment, hrv_segment, pulse_segment),
        coalesce(p.steps_segment = n.steps_now, false) as is_steps,
        coalesce(p.sleep_segment = n.sleep_now, false) as is_sleep,
        coalesce(p.hrv_segment = n.hrv_now, false) as is_hrv,
        coalesce(p.pulse_segment = n.pulse_now, false) as is_pulse
    from placed p join present n using (patient)
),
long as (
    unpivot own on steps, tst_min, waso_min, midpoint_h, resting_hr_bpm, rmssd_ms, nrs, mood
    into name metric value raw
),
valued as (
    select
        l.patient,
        l.metric,
        l.local_date,
        case when m.is_ln then ln(greatest(l.raw, m.scale_floor)) else l.raw end as v,
        case m.stream
            when 'steps' then l.is_steps
            when 'sleep' then l.is_sleep
            when 'hrv' then l.is_hrv
            when 'pulse' then l.is_pulse
            else true
        end as is_own
    from long l join metric_scale m using (metric)
    where m.stream is null or not l.is_away
),
listed as (
    select
        patient,
        metric,
        max(v) filter (local_date = $today) as value,
        count(*) filter (local_date > $today - 4) as recent_count,
        coalesce(list(v) filter (is_own and local_date <= $today - 8), []) as old,
        coalesce(list(v) filter (is_own and local_date between $today - 7 and $today - 2), []) as young
    from valued
    group by all
),
chosen as (
    select
        patient,
        metric,
        value,
        recent_count,
        case when len(old) >= 7 then old else old || young end as days
    from listed
),
scaled as (
    select
        c.patient,
        c.metric,
        c.value,
        c.recent_count,
        len(c.days) as n,
        list_median(c.days) as center,
        1.4826 * list_mad(c.days) as spread,
        m.within_sd
    from chosen c join metric_scale m using (metric)
),
shrunk as (
    select
        *,
        case when n >= 5 then
            sqrt((n * spread * spread + 7 * within_sd * within_sd) / (n + 7)) * sqrt(1 + 1.57 / n)
        end as scale
    from scaled
)
select
    patient,
    metric,
    value,
    case when n >= 5 then center end as center,
    scale,
    n as baseline_count,
    case when value is not null and scale is not null then
        greatest(-4, least(4, (value - center) / scale))
    end as z,
    recent_count
from shrunk
order by patient, metric
