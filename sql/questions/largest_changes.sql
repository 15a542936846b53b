-- title: Where a measurement changed most
-- description: Patients with two studies: first and last value of each measurement, largest change first.
-- parameter measure: text = Volume; name of the measure, e.g. Volume or Cardiothoracic ratio
SELECT patient, finding, measure, first_date, last_date, first_value, last_value, unit,
  round(CAST(100.0 * (last_value - first_value) / nullif(first_value, 0) AS numeric), 1) AS percent
FROM (
  SELECT DISTINCT patient, finding, measure, unit,
    first_value(value) OVER w AS first_value, first_value(study_date) OVER w AS first_date,
    last_value(value) OVER w AS last_value, last_value(study_date) OVER w AS last_date
  FROM measured
  WHERE measure = :measure AND derivation IS NULL
  WINDOW w AS (PARTITION BY patient, finding, measure, unit ORDER BY study_date, study_uid
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) t
WHERE first_date < last_date
ORDER BY abs((last_value - first_value) / nullif(first_value, 0)) DESC
