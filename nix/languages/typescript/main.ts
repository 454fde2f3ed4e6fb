// Counts the words on stdin: most frequent first, then by alphabet.
declare function require(name: string): any; // no @types/node here
const { readFileSync } = require("node:fs");

const text: string = readFileSync(0, "utf8");
const counts = new Map<string, number>();
for (const word of text.split(/\s+/).filter(Boolean)) {
  counts.set(word, (counts.get(word) ?? 0) + 1);
}
const order = ([a, m]: [string, number], [b, n]: [string, number]) => n - m || (a < b ? -1 : 1);
for (const [word, count] of [...counts].sort(order)) console.log(word, count);
