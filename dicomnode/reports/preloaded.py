"""Importing this loads the language model: for the process that workers are copied from.

Nothing else imports it.
"""

from dicomnode.reports.graph import language

language()
