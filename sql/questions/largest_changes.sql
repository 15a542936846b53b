-- title: Where a measurement changed most
-- description: Patients with two studies: first and last value of each measurement, largest change first.
-- parameter measure: text = Volume; name of the measure, e.g. Volume or Cardiothoracic ratio
SELECT patient_id AS patient, finding, measure, first_date, last_date, first_value, last_value,
  unit, round(CAST(100.0 * (last_value - first_value) / nullif(first_value, 0) AS numeric), 1)
    AS percent
FROM measured_change
WHERE measure = :measure AND first_date < last_date
ORDER BY change DESC
