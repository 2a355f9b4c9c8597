"""What a user may set, and what comes of it: a tracer, instruments, a switch.

`_cluster` and the packages above it may import it.
"""
