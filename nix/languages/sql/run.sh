# The lines of stdin are the table `input`. No line of text holds the separators chosen here.
cat > input.txt
exec sqlite3 -batch -bail \
  -cmd 'CREATE TABLE input(line TEXT)' \
  -cmd '.mode ascii' -cmd '.separator "\037" "\n"' -cmd '.import input.txt input' \
  -cmd '.mode list' -cmd '.separator "|" "\n"' \
  :memory: '.read main.sql'
