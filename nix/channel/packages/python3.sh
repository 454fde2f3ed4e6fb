# Compiled once here: nobody can write beside the source later. Unchecked, because it never changes.
"$out/usr/bin/python3" -c '
import compileall, glob, py_compile, sys
for folder in glob.glob(sys.argv[1] + "/usr/lib/python3*"):
    compileall.compile_dir(folder, quiet=1, workers=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
' "$out"
