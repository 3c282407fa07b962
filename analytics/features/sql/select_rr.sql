-- grain:   gap-free run of RR intervals
-- inputs:  observations_rr_interval
-- output:  patient, device, sensor, connection, first_beat, gap_before_ms, start_us, rr_ms
-- args:    $patients, $first_utc, $last_utc: whose, and from when to when
select
    patient,
    device,
    sensor,
    connection,
    first_beat,
    gap_before_ms,
    epoch_us(start_utc) as start_us,
    rr_ms
from observations_rr_interval
where patient in (select unnest($patients)) and end_utc > $first_utc and start_utc < $last_utc
order by patient, device, sensor, start_utc, connection, first_beat
