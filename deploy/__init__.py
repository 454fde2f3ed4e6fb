"""Set-up: from a fresh Debian machine to one on which everything here runs.

Standard library only, because it runs before anything else is installed.
"""
