exec fpc -O2 -v0 -omain main.pas
