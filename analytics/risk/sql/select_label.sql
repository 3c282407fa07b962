-- grain:   patient
-- inputs:  patient_day
-- output:  patient, usual_nrs, exceed_count, is_tapped, is_flare_2, is_onset_3, is_observed_3, score_count, has_recent_score
-- args:    $today
-- look-back: 48 days
--
-- What is known of flares on one date: excess and reports of its last three days, whether two days
-- ago was a flare day, and three days ago an onset. The twin is analytics.risk.labels.
with mean as (
    select
        patient,
        local_date,
        nrs,
        nrs is not null or mood is not null as is_observed,
        coalesce(is_flare_reported, false) as is_tapped,
        count(nrs) over old as n_old,
        sum(nrs) over old as s_old,
        count(nrs) over young as n_young,
        sum(nrs) over young as s_young
    from patient_day
    where local_date between $today - 48 and $today
    window
        old as (
            partition by patient order by local_date
            range between interval 35 days preceding and interval 8 days preceding
        ),
        young as (
            partition by patient order by local_date
            range between interval 35 days preceding and interval 2 days preceding
        )
),
usual as (
    select
        patient,
        local_date,
        nrs,
        is_observed,
        is_tapped,
        case
            when n_old >= 7 then s_old / n_old
            when n_young >= 5 then s_young / n_young
        end as usual_nrs
    from mean
),
excess as (
    select
        *,
        coalesce(nrs - usual_nrs >= least(2, greatest(10 - usual_nrs - 0.5, 1)) - 1e-9, false) as is_excess
    from usual
    where local_date >= $today - 13
),
flare as (
    select
        a.patient,
        a.local_date,
        any_value(a.nrs is not null) as is_reported,
        bool_or(a.is_tapped or coalesce(a.is_excess and b.is_excess, false)) as is_flare
    from excess a
    left join excess b
        on b.patient = a.patient
        and b.local_date between a.local_date - 2 and a.local_date + 2
        and b.local_date <> a.local_date
    where a.local_date between $today - 11 and $today - 2
    group by all
),
-- the last flare day before three days ago, and the reports between
earlier as (
    select patient, max(local_date) as last_flare
    from flare
    where is_flare and local_date < $today - 3
    group by all
),
quiet as (
    select f.patient, count(*) filter (f.is_reported) as report_count
    from flare f join earlier e using (patient)
    where f.local_date > e.last_flare and f.local_date < $today - 3
    group by all
),
onset as (
    select
        f.patient,
        f.is_flare
        and (
            e.last_flare is null
            or e.last_flare <= $today - 11
            or coalesce(q.report_count, 0) >= 3
        ) as is_onset
    from flare f
    left join earlier e using (patient)
    left join quiet q using (patient)
    where f.local_date = $today - 3
),
recent as (
    select
        patient,
        max(usual_nrs) filter (local_date = $today) as usual_nrs,
        count(*) filter (is_excess and local_date >= $today - 2) as exceed_count,
        coalesce(bool_or(is_tapped) filter (local_date >= $today - 2), false) as is_tapped,
        coalesce(bool_or(is_observed) filter (local_date = $today - 3), false) as is_observed_3
    from excess
    group by all
),
scores as (
    select
        patient,
        count(nrs) filter (local_date > $today - 28) as score_count,
        count(nrs) filter (local_date > $today - 4) > 0 as has_recent_score
    from usual
    group by all
)
select
    p.patient,
    r.usual_nrs,
    r.exceed_count,
    r.is_tapped,
    coalesce(f.is_flare, false) as is_flare_2,
    coalesce(o.is_onset, false) as is_onset_3,
    r.is_observed_3,
    s.score_count,
    s.has_recent_score
from (select patient from patient_day where local_date = $today) p
join recent r using (patient)
join scores s using (patient)
left join (from flare where local_date = $today - 2) f using (patient)
left join onset o using (patient)
order by p.patient
