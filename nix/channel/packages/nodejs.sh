# Debian's node reads parts of itself (cjs-module-lexer, undici, acorn) from /usr/share/nodejs,
# a path compiled in. This library sends libuv's open there to the store instead.
cat > /tmp/redirect.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
typedef int (*open_function)(void *, void *, const char *, int, int, void *);
int uv_fs_open(void *loop, void *request, const char *path, int flags, int mode, void *done) {
  static open_function next;
  char moved[PATH_MAX];
  if (!next) next = (open_function)dlsym(RTLD_NEXT, "uv_fs_open");
  if (strncmp(path, "/usr/share/nodejs/", 18) == 0) {
    snprintf(moved, sizeof moved, "%s%s", OUT, path);
    path = moved;
  }
  return next(loop, request, path, flags, mode, done);
}
C
"$gcc/usr/bin/$triplet-gcc-14" --sysroot="$gcc" -B"$gcc/usr/bin/" -O2 -shared -fPIC -DOUT="\"$out\"" -o "$own/libredirect-node.so" /tmp/redirect.c
tool patchelf --add-needed libredirect-node.so "$out/usr/bin/node"
"$out/usr/bin/node" -e 'require("fs"); fetch'
