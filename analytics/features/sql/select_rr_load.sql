-- grain:   patient
-- inputs:  local_day, observations_rr_interval
-- output:  patient, seconds: RR time to read, the measure of how many patients fit one chunk
-- args:    $first_utc, $last_utc: the nights wanted, from the first noon to the last
select patient, sum(epoch_us(end_utc) - epoch_us(start_utc)) / 1e6 as seconds
from observations_rr_interval
where end_utc > $first_utc and start_utc < $last_utc and patient in (select patient from local_day)
group by patient
order by patient
