exec gcc -std=c17 -O2 -Wall -Wextra -o main main.c -lm
