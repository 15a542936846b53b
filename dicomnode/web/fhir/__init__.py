"""FHIR R4: DiagnosticReports come in by REST. Nothing is given out."""
