"""From the network to a file and a row: C-ECHO and C-STORE as a provider.

Start at `receiver.start_receiver`. One instance passes, in this order: `admission` (may this peer
talk to us?), `contexts` (what may it send?), `messages` (PDVs to C-STORE requests), `storing` (one
request, from command to status), `spool` (bytes to disk and digest), `landing` (flush, rename,
group commit), `status` (what the sender is told). `tuning` is where pynetdicom is made fast.
"""
