-- title: How long algorithms take
-- description: Runs of each algorithm: mean and longest time.
SELECT algorithm, device, count(*) AS runs, round(CAST(avg(ran_s) AS numeric), 1) AS mean_s,
  round(CAST(max(ran_s) AS numeric), 1) AS longest_s,
  round(CAST(avg(waited_s) AS numeric), 1) AS mean_wait_s
FROM job_run
WHERE state = 'succeeded'
GROUP BY algorithm, device
ORDER BY mean_s DESC
