-- grain:   patient x local date
-- inputs:  local_day, observations_pro_answer, observations_flare_report, observations_practice_log
-- output:  patient, local_date, nrs, mood, flare_count, is_harder_to_tolerate, has_stopped_activities,
--          practice_min
-- args:    $first_utc, $last_utc: the dates wanted, from the first local midnight to the last
--
-- An answer outside 0-10 is no answer. Patient and caregiver speak for the same day: the mean of both.
with lived as (
    -- of two dates that begin at once the first is empty: skipped by a move
    select patient, local_date, start_utc, end_utc from local_day where start_utc < end_utc
),
answer as (
    select d.patient, d.local_date, a.instrument, a.value
    from observations_pro_answer a asof join lived d
        on a.patient = d.patient and a.start_utc >= d.start_utc
    where a.start_utc < d.end_utc and a.start_utc >= $first_utc and a.start_utc < $last_utc
        and a.instrument in ('nrs', 'mood') and a.value between 0 and 10
),
score as (
    select
        patient,
        local_date,
        -- in an order of their own: a sum of rounded numbers depends on it
        avg(value order by value) filter (instrument = 'nrs') as nrs,
        avg(value order by value) filter (instrument = 'mood') as mood
    from answer
    group by all
),
report as (
    select
        d.patient,
        d.local_date,
        count(*) as flare_count,
        bool_or(f.is_harder_to_tolerate) as is_harder_to_tolerate,
        bool_or(f.has_stopped_activities) as has_stopped_activities
    from observations_flare_report f asof join lived d
        on f.patient = d.patient and f.start_utc >= d.start_utc
    where f.start_utc < d.end_utc and f.start_utc >= $first_utc and f.start_utc < $last_utc
    group by all
),
practice as (
    select d.patient, d.local_date, sum(l.duration_s) / 60 as practice_min
    from observations_practice_log l asof join lived d
        on l.patient = d.patient and l.start_utc >= d.start_utc
    where l.start_utc < d.end_utc and l.start_utc >= $first_utc and l.start_utc < $last_utc
    group by all
)
select
    d.patient,
    d.local_date,
    score.nrs,
    score.mood,
    coalesce(report.flare_count, 0) as flare_count,
    report.is_harder_to_tolerate,
    report.has_stopped_activities,
    practice.practice_min
from local_day d
left join score using (patient, local_date)
left join report using (patient, local_date)
left join practice using (patient, local_date)
order by d.patient, d.local_date
