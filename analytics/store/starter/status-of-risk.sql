-- Where the flare risk stands: patients per status on the last night, and why.
select status, reason, count(*) as patients
from flare_risk
where local_date = (select max(local_date) from flare_risk)
group by all
order by patients desc, status, reason
