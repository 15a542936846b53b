-- title: Findings of a kind
-- description: What the last job of each algorithm found, by name or score.
-- parameter algorithm: text = any; name, or any
-- parameter name: text = any; part of the finding's name, or any
-- parameter least_score: number = 0; 0 to 1
-- sqlite:
SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = j.study_uid) AS accession_number,
  j.study_uid, j.algorithm, f.kind, f.name, f.site_meaning, f.laterality, f.score, f.text
FROM finding f
CROSS JOIN latest_job j ON j.job_id = f.job_id
WHERE (:algorithm = 'any' OR j.algorithm = :algorithm)
  AND (:name = 'any' OR lower(f.name) LIKE '%' || lower(:name) || '%')
  AND coalesce(f.score, 1) >= :least_score
ORDER BY f.score DESC
-- postgresql:
(SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = j.study_uid) AS accession_number,
  j.study_uid, j.algorithm, f.kind, f.name, f.site_meaning, f.laterality, f.score, f.text
FROM finding f
CROSS JOIN LATERAL (SELECT * FROM latest_job l WHERE l.job_id = f.job_id OFFSET 0) j
WHERE f.score IS NOT NULL
  AND (:algorithm = 'any' OR j.algorithm = :algorithm)
  AND (:name = 'any' OR lower(f.name) LIKE '%' || lower(:name) || '%')
  AND f.score >= :least_score
ORDER BY f.score DESC)
UNION ALL
SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = j.study_uid) AS accession_number,
  j.study_uid, j.algorithm, f.kind, f.name, f.site_meaning, f.laterality, f.score, f.text
FROM finding f
CROSS JOIN LATERAL (SELECT * FROM latest_job l WHERE l.job_id = f.job_id OFFSET 0) j
WHERE f.score IS NULL AND :least_score <= 1
  AND (:algorithm = 'any' OR j.algorithm = :algorithm)
  AND (:name = 'any' OR lower(f.name) LIKE '%' || lower(:name) || '%')
