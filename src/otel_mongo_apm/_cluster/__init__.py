"""Servers, heartbeats and the topology: their state, and how changes are reported.

`_commands` and the packages above it may import it.
"""
