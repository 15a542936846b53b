-- title: From a closed study to a sent result
-- description: Mean and longest time by day and destination.
-- parameter days: integer = 90; days back from the last result that was sent
-- sqlite:
SELECT date(sent_at) AS day, destination, count(*) AS results,
  round(avg(closed_to_sent_s), 1) AS mean_s, round(max(closed_to_sent_s), 1) AS longest_s
FROM delivered
WHERE sent_at >= (
  SELECT date(max(sent_at), '-' || :days || ' days') FROM delivery)
GROUP BY day, destination
ORDER BY day DESC
-- postgresql:
SELECT to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, destination,
  count(*) AS results, round(CAST(avg(closed_to_sent_s) AS numeric), 1) AS mean_s,
  round(CAST(max(closed_to_sent_s) AS numeric), 1) AS longest_s
FROM delivered
WHERE sent_at >= (
  SELECT max(sent_at) - make_interval(days => :days) FROM delivery)
GROUP BY 1, destination
ORDER BY 1 DESC
