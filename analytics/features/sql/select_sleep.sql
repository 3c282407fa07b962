-- grain:   sleep epoch
-- inputs:  local_day, observations_sleep_stage
-- output:  patient, device, start_us, end_us, stage: in order of patient, device and start
-- args:    $first_utc, $last_utc: what can belong to an episode that ends on one of the dates wanted
select
    patient,
    device,
    epoch_us(start_utc) as start_us,
    epoch_us(end_utc) as end_us,
    stage
from observations_sleep_stage
where end_utc > $first_utc and start_utc < $last_utc and patient in (select patient from local_day)
order by patient, device, start_utc
