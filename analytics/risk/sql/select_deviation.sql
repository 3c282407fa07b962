-- grain:   patient x metric
-- inputs:  patient_day, metric_scale, suspension, segment_break
-- output:  patient, metric, value, center, scale, baseline_count, z, recent_count
-- args:    $today
-- look-back: 35 days
--
-- Deviation of one date from the patient's own baseline; the compiled twin is
-- analytics.risk.baseline_kernel. A day of another device segment is no baseline.
with day as (
    select patient, local_date, device_segment, steps, tst_min, waso_min, midpoint_h, resting_hr_bpm, rmssd_ms, nrs, mood
    from patient_day
    where local_date between $today - 35 and $today
),
-- a few texts name the devices of all days: taken apart once
device as (
    select t.device_segment, split_part(p.part, '=', 1) as stream, split_part(p.part, '=', 2) as device
    from (select distinct device_segment from day where device_segment is not null) t,
        unnest(string_split(t.device_segment, ' ')) p(part)
),
changed as (
    select b.patient, b.stream, d.local_date, count(*) as break_count
    from segment_break b join day d on d.patient = b.patient and b.break_date <= d.local_date
    group by all
),
long as (
    unpivot day on steps, tst_min, waso_min, midpoint_h, resting_hr_bpm, rmssd_ms, nrs, mood
    into name metric value raw
),
valued as (
    select
        l.patient,
        l.metric,
        l.local_date,
        case when m.is_ln then ln(greatest(l.raw, m.scale_floor)) else l.raw end as v,
        case when m.stream is not null then concat(d.device, '/', coalesce(c.break_count, 0)) end as segment
    from long l
    join metric_scale m using (metric)
    left join device d on d.device_segment = l.device_segment and d.stream = m.stream
    left join changed c on c.patient = l.patient and c.stream = m.stream and c.local_date = l.local_date
    where
        m.stream is null
        or not exists (
            from suspension s where s.patient = l.patient and l.local_date between s.first_date and s.last_date
        )
),
-- the segment in force is that of the last day on which one spoke, suspended or not
spoken as (
    select d.patient, v.stream, max_by(concat(v.device, '/', coalesce(c.break_count, 0)), d.local_date) as segment
    from day d
    join device v using (device_segment)
    left join changed c on c.patient = d.patient and c.stream = v.stream and c.local_date = d.local_date
    group by all
),
own as (
    select v.*
    from valued v
    join metric_scale m using (metric)
    left join spoken s on s.patient = v.patient and s.stream = m.stream
    where m.stream is null or v.segment = s.segment or v.local_date > $today - 4
),
counted as (
    select
        o.patient,
        o.metric,
        m.within_sd,
        max(o.v) filter (o.local_date = $today) as value,
        count(*) filter (o.local_date > $today - 4) as recent_count,
        count(*) filter (o.local_date <= $today - 8 and is_own) as n1,
        median(o.v) filter (o.local_date <= $today - 8 and is_own) as c1,
        1.4826 * mad(o.v) filter (o.local_date <= $today - 8 and is_own) as m1,
        count(*) filter (o.local_date <= $today - 2 and is_own) as n2,
        median(o.v) filter (o.local_date <= $today - 2 and is_own) as c2,
        1.4826 * mad(o.v) filter (o.local_date <= $today - 2 and is_own) as m2
    from (
        select own.*, coalesce(own.segment = s.segment, true) as is_own
        from own
        join metric_scale m using (metric)
        left join spoken s on s.patient = own.patient and s.stream = m.stream
    ) o
    join metric_scale m using (metric)
    group by all
),
chosen as (
    select
        patient,
        metric,
        within_sd,
        value,
        recent_count,
        case when n1 >= 7 then n1 else n2 end as n,
        case when n1 >= 7 then c1 else c2 end as c,
        case when n1 >= 7 then m1 else m2 end as m
    from counted
),
scaled as (
    select
        *,
        case when n >= 5 then sqrt((n * m * m + 7 * within_sd * within_sd) / (n + 7)) * sqrt(1 + 1.57 / n) end as s
    from chosen
)
select
    patient,
    metric,
    value,
    case when n >= 5 then c end as center,
    s as scale,
    n as baseline_count,
    case when value is not null and s is not null then greatest(-4, least(4, (value - c) / s)) end as z,
    recent_count
from scaled
order by patient, metric
