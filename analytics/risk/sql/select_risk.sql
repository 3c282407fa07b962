-- grain:   patient
-- inputs:  patient_day, deviation, baseline (the 2 days before), label, feature, before (flare_risk of the day before),
--          suspension, weight, intercept
-- output:  patient, status, deviation, cell_count, risk_3d, risk_7d, onset_count, onsets_expected,
--          contributions
-- args:    $today, $rate_prior, $scored
--
-- The twins are analytics.risk.hazard and analytics.risk.status.
with cell as (
    select patient, z from deviation where metric in ('steps', 'tst_min', 'rmssd_ms') and z is not null
    union all
    select patient, z
    from baseline
    where metric in ('steps', 'tst_min', 'rmssd_ms') and local_date between $today - 2 and $today - 1
        and z is not null
),
combined as (
    select patient, avg(z) as deviation, count(*) as cell_count from cell group by all
),
stream as (
    select patient, count(*) as ready_count
    from deviation
    where metric in ('steps', 'tst_min', 'resting_hr_bpm', 'rmssd_ms')
        and recent_count >= 2 and baseline_count >= 7
    group by all
),
past as (
    select
        l.*,
        coalesce(b.monitored_days, 0) as monitored_before,
        coalesce(b.onset_count, 0) + (l.is_onset_3 and l.is_observed_3 and b.hazard_pending[1] is not null)::integer
            as onset_count,
        coalesce(b.onsets_expected, 0) + case when l.is_observed_3 then coalesce(b.hazard_pending[1], 0) else 0 end
            as onsets_expected,
        coalesce(s.ready_count, 0) as ready_count,
        exists (
            from suspension u where u.patient = l.patient and $today between u.first_date and u.last_date
        ) as is_suspended,
        exists (
            from patient_day d
            where d.patient = l.patient and d.local_date = $today
                and coalesce(
                    d.steps, d.tst_min, d.waso_min, d.midpoint_h, d.resting_hr_bpm, d.rmssd_ms, d.nrs, d.mood
                ) is not null
        ) as has_value
    from label l
    left join before b using (patient)
    left join stream s using (patient)
),
standing as (
    select
        *,
        case when monitored_before > 0 or has_value or is_tapped then monitored_before + 1 else 0 end
            as monitored_days,
        (ready_count >= 2 or (score_count >= 7 and has_recent_score)) and not is_suspended as is_sufficient,
        ln(($rate_prior + onset_count) / ($rate_prior + onsets_expected)) as history
    from past
),
named as (
    select
        *,
        case
            when exceed_count > 1 or is_tapped then 'in_flare'
            when exceed_count = 1 then 'possible_flare'
            when monitored_days < 14 then 'learning'
            when not is_sufficient then 'insufficient_data'
            else $scored
        end as status
    from standing
),
predictor as (
    select
        f.patient,
        sum(f.x * w.weight) as near,
        sum(f.x * w.slope) as change,
        map(
            list(f.feature order by f.feature) filter (f.x <> 0 and w.weight + w.slope / 6 <> 0),
            list(f.x * (w.weight + w.slope / 6) order by f.feature)
                filter (f.x <> 0 and w.weight + w.slope / 6 <> 0)
        ) as contributions
    from feature f join weight w using (feature)
    group by all
),
hazard as (
    select
        n.patient,
        i.ahead,
        ln(1 - 1 / (1 + exp(-(i.intercept + p.near + p.change * (i.ahead - 1) / 6 + n.history)))) as ln_none
    from named n join predictor p using (patient) cross join intercept i
    where n.status = $scored
),
risk as (
    select
        patient,
        1 - exp(sum(ln_none) filter (ahead <= 3)) as risk_3d,
        1 - exp(sum(ln_none)) as risk_7d
    from hazard
    group by all
)
select
    n.patient,
    n.status,
    case when c.cell_count >= 5 and n.monitored_days >= 14 and not n.is_suspended then c.deviation end as deviation,
    coalesce(c.cell_count, 0) as cell_count,
    r.risk_3d,
    r.risk_7d,
    n.onset_count,
    n.onsets_expected,
    n.history,
    n.monitored_days,
    p.contributions
from named n
left join combined c using (patient)
left join risk r using (patient)
left join predictor p using (patient)
order by n.patient
