"""What is true inside the box: PID 1 of a submission's container, and the jail around each stage.

Standard library only. The container's image holds this package and nothing else of ours, so
that what runs beside untrusted code is small enough to read, starts in milliseconds and drags
no third party's code into the sandbox. It is also the innermost leaf of the import graph: the
limits, the outcomes and the frames stated here are what `streams/` and the services speak of.
"""
