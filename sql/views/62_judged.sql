-- view: judged
-- version: 1
-- purpose: What people say of results and findings: the word in force, of each job's last run.
-- column job_id: The job
-- column study_uid: The study
-- column algorithm: Its name
-- column algorithm_version: As run
-- column finding: Name of the finding; null: the whole result
-- column finding_number: Its number within the job; 0: the whole result
-- column verdict: accepted, rejected or corrected
-- column remark: In the person's words
-- column judged_by: Account, or AE title that sent a corrected object
-- column judged_at: When
-- column sop_instance_uid: The object that came back; null: judged on a page
SELECT g.job_id, j.study_uid, j.algorithm, j.algorithm_version, f.name AS finding,
  g.finding AS finding_number, g.verdict, g.remark, g."by" AS judged_by, g.at AS judged_at,
  c.sop_instance_uid
FROM judgement g
JOIN job j ON j.id = g.job_id AND j.run = g.run
LEFT JOIN finding f ON f.job_id = g.job_id AND f.number = g.finding
LEFT JOIN correction c ON c.id = g.correction_id
WHERE g.superseded_at IS NULL
