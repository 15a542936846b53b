-- view: scanner
-- version: 1
-- purpose: Where the first series of each study was made.
-- column study_uid: The study
-- column modality: Of that series
-- column station: StationName (0008,1010)
-- column manufacturer: Manufacturer (0008,0070)
-- column model: ManufacturerModelName (0008,1090)
-- sqlite:
SELECT s.study_uid, s.modality, json_extract(s.header, '$.StationName[0]') AS station, json_extract(s.header, '$.Manufacturer[0]') AS manufacturer,
  json_extract(s.header, '$.ManufacturerModelName[0]') AS model
FROM series s
WHERE s.series_uid = (SELECT min(o.series_uid) FROM series o WHERE o.study_uid = s.study_uid)
-- postgresql:
SELECT s.study_uid, s.modality, s.header #>> '{StationName,0}' AS station, s.header #>> '{Manufacturer,0}' AS manufacturer,
  s.header #>> '{ManufacturerModelName,0}' AS model
FROM series s
WHERE s.series_uid = (SELECT min(o.series_uid) FROM series o WHERE o.study_uid = s.study_uid)
