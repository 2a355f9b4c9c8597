"""The metric instruments, and what the observable ones observe.

`_settings` and the packages above it may import it.
"""
