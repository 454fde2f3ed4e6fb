# Counts the words on stdin: most frequent first, then by alphabet.
declare -A counts=()
while read -r -a words; do
  for word in "${words[@]}"; do counts["$word"]=$((${counts["$word"]:-0} + 1)); done
done
for word in "${!counts[@]}"; do echo "$word ${counts["$word"]}"; done | sort -k2,2nr -k1,1
