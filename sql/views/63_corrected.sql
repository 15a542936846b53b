-- view: corrected
-- version: 1
-- purpose: Segmentations and reports that came back in the place of ours, segment by segment.
-- column correction_id: Number of the correction
-- column sop_instance_uid: The object that came back
-- column study_uid: The study
-- column job_id: The job whose result it corrects
-- column algorithm: Its name
-- column algorithm_version: As run
-- column kind: SEG or SR
-- column sign: By what it is known: predecessor, reference, tracking-uid or same-segment
-- column sent_by: AE title
-- column recognised_at: When
-- column segment: Label; null: no segment was compared
-- column ours_ml: Volume of ours; null on radiographs
-- column theirs_ml: Volume of theirs; null on radiographs
-- column difference_ml: Theirs less ours
-- column ours_voxels: Voxels (on radiographs pixels) of ours
-- column theirs_voxels: The same of theirs
-- column dice: Overlap, 0 to 1
SELECT c.id AS correction_id, c.sop_instance_uid, j.study_uid, c.job_id, j.algorithm,
  j.algorithm_version, c.kind, c.sign, c.sent_by, c.at AS recognised_at, s.name AS segment,
  s.ours_ml, s.theirs_ml, s.theirs_ml - s.ours_ml AS difference_ml, s.ours_voxels,
  s.theirs_voxels, s.dice
FROM correction c
JOIN job j ON j.id = c.job_id
LEFT JOIN correction_segment s ON s.correction_id = c.id
