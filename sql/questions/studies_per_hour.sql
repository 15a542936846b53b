-- title: How many studies come in
-- description: Studies and instances received in each hour (UTC), latest first.
-- sqlite:
WITH RECURSIVE hour(began) AS (
  SELECT (SELECT strftime('%Y-%m-%d %H:00', max(received_at)) FROM study)
  UNION ALL
  SELECT (SELECT strftime('%Y-%m-%d %H:00', max(received_at)) FROM study
    WHERE received_at < hour.began)
  FROM hour WHERE hour.began IS NOT NULL)
SELECT began AS hour,
  (SELECT count(*) FROM study WHERE received_at >= began
    AND received_at < strftime('%Y-%m-%d %H:00', began, '+1 hour')) AS studies,
  (SELECT sum(instance_count) FROM study WHERE received_at >= began
    AND received_at < strftime('%Y-%m-%d %H:00', began, '+1 hour')) AS instances
FROM hour
WHERE began IS NOT NULL
-- postgresql:
WITH RECURSIVE hour(began) AS (
  SELECT date_trunc('hour', (SELECT max(received_at) FROM study), 'UTC')
  UNION ALL
  SELECT date_trunc('hour', (SELECT max(received_at) FROM study
    WHERE received_at < hour.began), 'UTC')
  FROM hour WHERE hour.began IS NOT NULL)
SELECT to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00') AS hour, s.studies, s.instances
FROM hour
CROSS JOIN LATERAL (
  SELECT count(*) AS studies, sum(instance_count) AS instances FROM study
  WHERE received_at >= began AND received_at < began + interval '1 hour') s
WHERE began IS NOT NULL
