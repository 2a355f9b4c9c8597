"""What happens before a command is sent: waits for a server, a connection or DNS; failed calls.

`_operations` and the packages above it may import it.
"""
