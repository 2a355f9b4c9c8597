"""Runs an application and draws its telemetry in a terminal: traces as trees, metrics as a table.

`_doctor` and nothing else may import it.
"""
