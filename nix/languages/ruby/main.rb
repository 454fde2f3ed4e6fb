# Counts the words on stdin: most frequent first, then by alphabet.
$stdin.read.split.tally.sort_by { |word, count| [-count, word] }.each do |word, count|
  puts "#{word} #{count}"
end
