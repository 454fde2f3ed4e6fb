"""What the processes run in: container images, the offline Nix channel, the store they share.

Standard library only, because it runs at set-up, before anything else is installed.
"""
