-- grain:   patient x local date (the night that ends on it, noon to noon)
-- inputs:  local_day, observations_sleep_stage
-- output:  patient, local_date, device, onset_us, final_us, tst_min, unknown_min (all dates; null: no record)
-- args:    $first_utc, $last_utc: the nights wanted, from the first noon to the last
--
-- Sleep bouts with less than an hour between them are one episode (a night that the device split); the
-- main sleep is the episode with the most sleep of the device that tells most of the night. Naps are the rest.
with epoch as (
    select
        n.patient,
        n.local_date,
        s.device,
        s.stage,
        s.start_utc,
        s.end_utc
    from observations_sleep_stage s asof join local_day n
        on s.patient = n.patient and s.start_utc >= n.night_start_utc
    where s.start_utc < n.night_end_utc and s.start_utc >= $first_utc and s.start_utc < $last_utc
),
-- a night pulled twice from the device with another start must not count its minutes twice
cut as (
    select
        * exclude (end_utc),
        least(
            end_utc,
            coalesce(lead(start_utc) over (
                partition by patient, local_date, device order by start_utc
            ), end_utc)
        ) as end_utc
    from epoch
),
asleep as (
    select
        *,
        start_utc - lag(end_utc) over (
            partition by patient, local_date, device order by start_utc
        ) as since_last
    from cut
    where stage >= 2
),
numbered as (
    select
        *,
        count(*) filter (since_last >= interval 60 minutes) over (
            partition by patient, local_date, device order by start_utc rows unbounded preceding
        ) as episode
    from asleep
),
episodes as (
    select
        patient,
        local_date,
        device,
        episode,
        min(start_utc) as onset_utc,
        max(end_utc) as final_utc,
        sum(epoch_us(end_utc) - epoch_us(start_utc)) / 60e6 as tst_min
    from numbered
    group by all
),
told as (
    select *, sum(tst_min) over (partition by patient, local_date, device) as told_min from episodes
),
main as (
    select * from told
    qualify row_number() over (
        partition by patient, local_date order by told_min desc, device, tst_min desc, onset_utc
    ) = 1
),
unknown as (
    select
        m.patient,
        m.local_date,
        sum(epoch_us(c.end_utc) - epoch_us(c.start_utc)) / 60e6 as unknown_min
    from main m join cut c
        on c.patient = m.patient
        and c.local_date = m.local_date
        and c.device = m.device
        and c.stage = 0
        and c.start_utc >= m.onset_utc
        and c.start_utc < m.final_utc
    group by all
)
select
    n.patient,
    n.local_date,
    m.device,
    epoch_us(m.onset_utc) as onset_us,
    epoch_us(m.final_utc) as final_us,
    m.tst_min,
    coalesce(u.unknown_min, 0.0) as unknown_min
from local_day n
left join main m using (patient, local_date)
left join unknown u using (patient, local_date)
order by n.patient, n.local_date
