exec g++ -std=c++20 -O2 -Wall -o primes main.cpp
