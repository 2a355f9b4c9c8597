"""The settings, and what is built from them: a tracer, instruments, a switch.

`_cluster` and the packages above it may import it.
"""
