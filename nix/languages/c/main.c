// Counts the words on stdin: most frequent first, then by alphabet.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  char word[64];
  int count;
} Entry;

static Entry entries[10000];

static int compare(const void *a, const void *b) {
  const Entry *left = a, *right = b;
  if (left->count != right->count) return right->count - left->count;
  return strcmp(left->word, right->word);
}

int main(void) {
  char word[64];
  size_t used = 0;
  while (used < sizeof entries / sizeof *entries && scanf("%63s", word) == 1) {
    size_t i = 0;
    while (i < used && strcmp(entries[i].word, word) != 0) i++;
    if (i == used) strcpy(entries[used++].word, word);
    entries[i].count++;
  }
  qsort(entries, used, sizeof *entries, compare);
  for (size_t i = 0; i < used; i++) printf("%s %d\n", entries[i].word, entries[i].count);
  return 0;
}
