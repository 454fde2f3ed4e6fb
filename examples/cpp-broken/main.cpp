// Does not compile: a semicolon is missing.
#include <iostream>

int main() {
  std::cout << "never printed\n"
  return 0;
}
