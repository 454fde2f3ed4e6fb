"""The builder: takes `deps-queued`, answers `deps-built`. Beside it lies a rootless Nix store.

service.py ── decide.py (pure) ── builds.py (joins) ── shells.py (one real build)
                                                         ├── box.py      a container of the pool's
                                                         ├── provide.py  what is trusted is added
                                                         │     └── keeper.py, daemon.py, jobs.py
                                                         ├── keep.py     what was built is kept
                                                         │     └── nar.py  after it was checked
                                                         └── nixstore.py the store's own commands
trusted.py: which derivations are the channel's own
catalogue.py: what was built, one file for each environment; private.py: what one submission had
shared.py: what the builders of one store share, and the locks between them
publish.py: environments signed and copied to a cache; collect.py: those that nobody uses go

storekeeper.py is a process of its own, for a worker host: it fetches what builders have published,
and fetched.py remembers what.
"""
