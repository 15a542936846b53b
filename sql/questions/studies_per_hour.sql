-- title: How many studies come in
-- description: Studies and instances received in each hour (UTC), latest first.
SELECT hour, studies, instances FROM study_hour ORDER BY hour DESC
