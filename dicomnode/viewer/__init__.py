"""OHIF for a site without a viewer: fetched once, checked, served beside the PACS's DICOMweb."""
