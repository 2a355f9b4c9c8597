"""What a caller waited for before its command was sent: a server, a connection.

`_operations` and the packages above it may import it.
"""
