-- title: What needs a person
-- description: Failed or refused jobs, deliveries given up or refused, objects in quarantine.
SELECT what, id, study_uid, since, reason FROM trouble ORDER BY since DESC
