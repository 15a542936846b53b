"""Where pynetdicom is made fast, and where the peers' bytes meet ours.

pynetdicom does the negotiation, the state machine, release, abort and every message but C-STORE.
Its stock classes lose time at the seams replaced here, all by subclassing. Seconds are for 300 CT
slices over 8 associations (medians, 2 busy cores, everything else as it is now: 0.72 s).

* `connection`: the stock socket reads 4096 bytes a call, and its `select` fails above descriptor
  1023: here one buffer of 256 KiB and `poll` (with 4 KiB: 1.68 s). Accepted sockets have Nagle on,
  and the kernel delays its ACKs, so that a sender with Nagle on may wait 40 ms per instance:
  `TCP_NODELAY` and, after each read, `TCP_QUICKACK`. Over loopback the second gains nothing beside
  the large reads; it is for networks whose segments are smaller than an image.
* `upper_layer`: a P-DATA PDU is copied about six times and handed from thread to thread, and a
  chunked data set is read back to be hashed. Here PDVs stream from the buffer to the spool file
  and the digest, and C-STORE is answered in the thread that read it. What PDU headers separate is
  put together before it is written and hashed (8800 -> 7600 thread switches).
* `wakeups`: both threads of an association sleep 1 ms between looks at their queues: here they
  wait until something is there.
* `server`: presentation contexts (200 classes, 50 syntaxes each) are deep-copied for each
  association (with it: 1.14 s), a thread is started only to start another, and every 60 turns of
  the accept loop a full garbage collection runs: shared, none and none. The backlog is 128, not 5.
* `process`: UIDs are checked five times over (18 -> 12.5 ms of CPU per association that offers 128
  contexts).

`benchmarks/receive.py` measures the whole. All of it leans on pynetdicom's inner names:
`PYNETDICOM_VERSION` is what it was written against, and a test fails when another version is
installed or the code that is leaned on has changed.
"""

PYNETDICOM_VERSION = "3.0.4"
