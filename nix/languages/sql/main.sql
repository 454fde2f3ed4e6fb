-- Counts the words on stdin (table `input`, one row for each line): most frequent first, then by
-- alphabet.
WITH RECURSIVE
  pieces(word, rest) AS (
    SELECT '', replace(line, char(9), ' ') || ' ' FROM input
    UNION ALL
    SELECT substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1)
    FROM pieces WHERE rest <> ''
  )
SELECT word || ' ' || count(*) FROM pieces WHERE word <> '' GROUP BY word ORDER BY count(*) DESC, word;
