exec g++ -std=c++20 -O2 -Wall -Wextra -o main main.cpp
