-- view: recist_target
-- version: 3
-- purpose: The lesions of a patient's first CT that RECIST 1.1 would measure: at least 10 mm long (lymph nodes: 15 mm short axis), at most two an organ and five in all, the largest. Chosen by size alone, from what one algorithm marked; a reader may choose others.
-- column patient: PatientID
-- column algorithm: Its name
-- column tracking_uid: The lesion
-- column name: As in the SR of the first study
-- column organ: Its site, else its type; lymph nodes are one organ wherever they lie, and so are both of a pair
-- column is_node: 1: its short axis counts
-- column baseline_mm: The diameter that counts, then
-- column study_uid: The first study
SELECT patient, algorithm, tracking_uid, name, organ, is_node, baseline_mm, study_uid
FROM recist_lesion
WHERE baseline_mm IS NOT NULL
