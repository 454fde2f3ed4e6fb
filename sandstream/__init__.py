"""The command line, the Python client, and the whole system on one machine."""
