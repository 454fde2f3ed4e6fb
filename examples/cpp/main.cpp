// Counts the primes below its argument.
#include <cstdlib>
#include <iostream>
#include <vector>

int main(int argc, char** argv) {
  const std::size_t end = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100;
  std::vector<bool> composite(end, false);
  std::size_t primes = 0;
  for (std::size_t n = 2; n < end; ++n) {
    if (composite[n]) continue;
    ++primes;
    for (std::size_t multiple = n * n; multiple < end; multiple += n) composite[multiple] = true;
  }
  std::cout << primes << " primes below " << end << '\n';
}
