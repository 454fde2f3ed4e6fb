"""The container images of this repository, made locally, each named by a digest of its inputs."""

from nix.images.build import build
from nix.images.names import ImageTags, tags

__all__ = ["ImageTags", "build", "tags"]
