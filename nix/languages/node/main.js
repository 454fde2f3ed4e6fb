// Counts the words on stdin: most frequent first, then by alphabet.
const { readFileSync } = require("node:fs");

const counts = new Map();
for (const word of readFileSync(0, "utf8").split(/\s+/).filter(Boolean)) {
  counts.set(word, (counts.get(word) ?? 0) + 1);
}
const order = ([a, m], [b, n]) => n - m || (a < b ? -1 : 1);
for (const [word, count] of [...counts].sort(order)) console.log(word, count);
