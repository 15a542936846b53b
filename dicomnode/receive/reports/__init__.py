"""Reports as other systems send them: DICOM SR and HL7 v2."""
