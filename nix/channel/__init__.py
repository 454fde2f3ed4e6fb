"""`<nixpkgs>`: out of Debian packages, for machines that reach no Nix cache; or nixpkgs itself."""

from nix.channel.prepare import made, prepare, revision, warm, warm_languages
from nix.channel.trusted import is_stamped

__all__ = ["is_stamped", "made", "prepare", "revision", "warm", "warm_languages"]
