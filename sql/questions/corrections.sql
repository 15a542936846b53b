-- title: What people corrected, and by how much
-- description: Segments that came back from a viewer beside ours, the least overlap first.
-- parameter algorithm: text = any; name of the algorithm
-- parameter most_dice: number = 1; only segments whose overlap is at most this
SELECT algorithm, algorithm_version,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = corrected.study_uid) AS accession_number,
  study_uid, kind, segment, ours_ml, theirs_ml, difference_ml,
  dice, sign, sent_by, recognised_at
FROM corrected
WHERE (:algorithm = 'any' OR algorithm = :algorithm) AND coalesce(dice, 0) <= :most_dice
ORDER BY dice, recognised_at DESC
