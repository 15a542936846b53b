-- view: delivered
-- version: 1
-- purpose: Deliveries with how long they took from the study's closing.
-- column result_uid: SOPInstanceUID of the object
-- column study_uid: The study
-- column kind: SEG, SR, ...
-- column destination: Its name
-- column state: waiting, sent-unconfirmed, confirmed, refused, given-up or dismissed
-- column status: DIMSE status of the last answer
-- column reason: Comment of the peer
-- column attempt: Tries
-- column created_at: When it was put into the outbox
-- column sent_at: When it was taken
-- column confirmed_at: When it was proven kept
-- column closed_to_sent_s: Seconds from the closing of the study to its being taken
-- sqlite:
SELECT d.result_uid, t.study_uid, t.kind, d.destination, d.state, d.status, d.reason, d.attempt,
  d.created_at, d.sent_at, d.confirmed_at, (julianday(d.sent_at) - julianday(v.closed_at)) * 86400 AS closed_to_sent_s
FROM delivery d
JOIN result t ON t.sop_instance_uid = d.result_uid
JOIN job j ON j.id = t.job_id
JOIN revision v ON v.id = j.revision_id
-- postgresql:
SELECT d.result_uid, t.study_uid, t.kind, d.destination, d.state, d.status, d.reason, d.attempt,
  d.created_at, d.sent_at, d.confirmed_at, CAST(extract(epoch FROM d.sent_at - v.closed_at) AS double precision) AS closed_to_sent_s
FROM delivery d
JOIN result t ON t.sop_instance_uid = d.result_uid
JOIN job j ON j.id = t.job_id
JOIN revision v ON v.id = j.revision_id
