-- Who has changed most from usual on the last night, with the sentence that says so.
select patient, round(deviation, 2) as deviation, cell_count, status, sentence
from flare_risk
where local_date = (select max(local_date) from flare_risk) and deviation is not null
order by deviation, patient
limit 20
