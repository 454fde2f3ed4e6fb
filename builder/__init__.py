"""The builder: takes `deps-queued`, answers `deps-built`. Beside it lies a rootless Nix store.

service.py ── decide.py (pure) ── builds.py (joins) ── shells.py (one real build)
                                                         ├── jobs.py    folders of one job
                                                         ├── daemon.py  its own nix-daemon
                                                         └── evaluator.py  asks the other container
catalogue.py: what was built, one file for each environment
"""
