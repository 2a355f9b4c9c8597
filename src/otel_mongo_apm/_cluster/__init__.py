"""Servers, heartbeats and the topology: their state, and what is told of its changes.

`_commands` and the packages above it may import it.
"""
