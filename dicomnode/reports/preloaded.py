"""Importing this loads the language model: for the process that workers are copied from.

Nothing else imports it.
"""

import gc

from dicomnode.reports.graph import language

language()
gc.freeze()  # the copies share the model's pages, and no collection looks through it again
