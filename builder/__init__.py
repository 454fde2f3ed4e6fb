"""The builder: takes `deps-queued`, answers `deps-built`. Beside it lies a rootless Nix store.

service.py ── decide.py (pure) ── builds.py (joins) ── shells.py (one real build)
                                                         ├── jobs.py    folders of one job
                                                         ├── keeper.py  holds daemon.py, which has
                                                         │              its own nix-daemon or fetch
                                                         ├── evaluator.py  asks the other container
                                                         └── nixstore.py  the store's own commands
catalogue.py: what was built, one file for each environment
shared.py: what the builders of one store share, and the locks between them
publish.py: environments signed and copied to a cache; collect.py: those that nobody uses go

storekeeper.py is a process of its own, for a worker host: it fetches what builders have published,
and fetched.py remembers what.
"""
