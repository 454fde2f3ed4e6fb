# Old space in MB: below the default limit of 256 MiB, so that V8 collects before it is stopped.
exec node --max-old-space-size=160 main.js "$@"
