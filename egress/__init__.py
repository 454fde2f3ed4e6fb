"""What a build may reach: the rules, and the proxy that keeps them. Standard library and settings.

A build has no network, unless `open` gives it the builder's. Where an administrator allows hosts,
it has a Unix socket that an HTTP proxy of ours listens on, and reaches what the rules name, by that
proxy's own connections.
"""
