-- grain:   patient x feature
-- inputs:  deviation (of $today), baseline (the 13 days before), label, before (flare_risk of the day before)
-- output:  patient, feature, x
-- args:    $today
-- look-back: 14 days of z
--
-- The twin is analytics.risk.features. greatest() and least() ignore null: what is not known is
-- guarded, it must not become the bound.
with z as (
    select patient, metric, $today as local_date, z from deviation where z is not null
    union all
    select patient, metric, local_date, z
    from baseline
    where local_date between $today - 13 and $today - 1 and z is not null
),
swing as (
    select a.patient, avg(abs(a.z - b.z)) as swing, count(*) as pair_count
    from z a
    join z b on b.patient = a.patient and b.metric = 'steps' and b.local_date = a.local_date - 1
    where a.metric = 'steps' and a.local_date > $today - 7
    group by all
),
mean as (
    select
        patient,
        avg(z) filter (metric = 'tst_min' and local_date > $today - 3) as tst,
        avg(z) filter (metric = 'waso_min' and local_date > $today - 3) as waso,
        avg(z) filter (metric = 'resting_hr_bpm' and local_date > $today - 3) as rhr_3,
        avg(z) filter (metric = 'resting_hr_bpm' and local_date > $today - 7) as rhr_7,
        count(*) filter (metric = 'resting_hr_bpm' and local_date > $today - 7) as rhr_count,
        avg(z) filter (metric = 'rmssd_ms' and local_date > $today - 3) as lnr_3,
        avg(z) filter (metric = 'rmssd_ms' and local_date > $today - 7) as lnr_7,
        count(*) filter (metric = 'rmssd_ms' and local_date > $today - 7) as lnr_count,
        max(z) filter (metric = 'steps' and local_date > $today - 3) as steps_high,
        avg(z) filter (metric = 'steps' and local_date > $today - 3) as steps,
        avg(z * z) filter (metric = 'midpoint_h' and local_date > $today - 7) as mid_square,
        count(*) filter (metric = 'midpoint_h' and local_date > $today - 7) as mid_count,
        avg(z) filter (metric = 'nrs' and local_date > $today - 2) as nrs_1,
        avg(z) filter (metric = 'nrs' and local_date > $today - 3) as nrs_3,
        avg(z) filter (metric = 'nrs' and local_date > $today - 7) as nrs_7,
        avg(z) filter (metric = 'mood' and local_date > $today - 3) as mood,
        stddev_samp(z) filter (metric = 'nrs') as nrs_sd,
        count(*) filter (metric = 'nrs') as nrs_count
    from z
    group by all
),
wide as (
    select
        l.patient,
        coalesce(-m.tst, 0) as tst_3,
        coalesce(m.waso, 0) as waso_3,
        coalesce(m.rhr_3, 0) as rhr_3,
        case when m.rhr_count >= 3 then m.rhr_7 else 0 end as rhr_7,
        coalesce(-m.lnr_3, 0) as lnr_3,
        case when m.lnr_count >= 3 then -m.lnr_7 else 0 end as lnr_7,
        case when m.steps_high is not null then greatest(m.steps_high, 0) else 0 end as over3,
        case when m.steps is not null then greatest(-m.steps, 0) else 0 end as under3,
        case when s.pair_count >= 4 then s.swing - 1.1 else 0 end as boombust,
        case when m.mid_count >= 3 then ln(greatest(sqrt(m.mid_square), 0.2)) else 0 end as midirr,
        coalesce(m.nrs_1, 0) as nrs_1,
        coalesce(m.nrs_3, 0) as nrs_3,
        coalesce(m.nrs_7, 0) as nrs_7,
        coalesce(m.mood, 0) as mood_3,
        case when m.nrs_count >= 5 then m.nrs_sd - 0.8 else 0 end as nrs_sd,
        coalesce(
            exp(-(case when l.is_flare_2 then 2 else $today - b.last_flare_date end) / 10.0), 0
        ) - 0.15 as recent
    from label l
    left join mean m using (patient)
    left join swing s using (patient)
    left join before b using (patient)
)
from (unpivot wide on columns(* exclude patient) into name feature value x)
order by patient, feature
