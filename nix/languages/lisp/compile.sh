exec sbcl --noinform --non-interactive --no-sysinit --no-userinit --eval '(compile-file "main.lisp")'
