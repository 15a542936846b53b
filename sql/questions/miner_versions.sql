-- title: What labels were made by
-- description: Versions of the miner with the reports each has read.
SELECT v.id AS version, v.policy, v.lexicon, v.miner, v.first_used_at,
  (SELECT count(*) FROM report_reading g WHERE g.version_id = v.id) AS reports_read,
  (SELECT count(*) FROM report r WHERE r.version_id = v.id) AS reports_in_force
FROM mining_version v
ORDER BY v.id
