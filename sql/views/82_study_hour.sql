-- view: study_hour
-- version: 1
-- purpose: Studies received in each hour (UTC).
-- column hour: YYYY-MM-DD HH:00
-- column studies: How many
-- column instances: How many they have now
-- sqlite:
SELECT strftime('%Y-%m-%d %H:00', s.received_at) AS hour, count(*) AS studies, sum(s.instance_count) AS instances
FROM study s
GROUP BY strftime('%Y-%m-%d %H:00', s.received_at)
-- postgresql:
SELECT to_char(s.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00') AS hour, count(*) AS studies, sum(s.instance_count) AS instances
FROM study s
GROUP BY to_char(s.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')
