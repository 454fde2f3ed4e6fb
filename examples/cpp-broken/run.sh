exec ./primes "$@"
