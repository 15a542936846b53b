"""A DICOM node beside the PACS. Start reading at `dicomnode.flow`."""

__version__ = "0.1.0"
