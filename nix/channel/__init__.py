"""`<nixpkgs>`: out of Debian packages, for machines that reach no Nix cache; or nixpkgs itself."""

from nix.channel.prepare import made, prepare, revision, warm, warm_languages

__all__ = ["made", "prepare", "revision", "warm", "warm_languages"]
