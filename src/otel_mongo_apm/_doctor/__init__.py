"""The command `otel-mongo-apm`: reports versions, settings and problems, and tries a connection.

Nothing imports it but `__main__`.
"""
