# A heap below the default limit of 256 MiB, so that SBCL collects before it is stopped.
exec sbcl --noinform --dynamic-space-size 192MB --script main.fasl "$@"
