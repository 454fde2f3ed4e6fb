# phpenmod would have linked these; the folder of extensions is compiled in.
folder="$(find "$out/usr/lib/php" -mindepth 1 -maxdepth 1 -type d -name '20*')"
mkdir -p "$out/etc/php/conf.d"
echo "extension_dir=$folder" > "$out/etc/php/conf.d/00-folder.ini"
for name in ctype tokenizer iconv posix mbstring bcmath gmp; do
  echo "extension=$name" > "$out/etc/php/conf.d/20-$name.ini"
done
# Debian's php knows time zones by a path compiled in. This library sends it to the store instead.
cat > /tmp/redirect.c <<'C'
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
static const char *moved(const char *path, char *buffer) {
  if (!path || strncmp(path, "/usr/share/zoneinfo", 19) != 0) return path;
  snprintf(buffer, PATH_MAX, "%s%s", OUT, path);
  return buffer;
}
int open(const char *path, int flags, ...) {
  char buffer[PATH_MAX];
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return NEXT(open)(moved(path, buffer), flags, mode);
}
int access(const char *path, int mode) {
  char buffer[PATH_MAX];
  return NEXT(access)(moved(path, buffer), mode);
}
int stat(const char *path, struct stat *found) {
  char buffer[PATH_MAX];
  return NEXT(stat)(moved(path, buffer), found);
}
int scandir(const char *path, struct dirent ***names, int (*filter)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **)) {
  char buffer[PATH_MAX];
  return NEXT(scandir)(moved(path, buffer), names, filter, compare);
}
C
"$gcc/usr/bin/$triplet-gcc-14" --sysroot="$gcc" -B"$gcc/usr/bin/" -O2 -shared -fPIC -DOUT="\"$out\"" -o "$own/libredirect-php.so" /tmp/redirect.c
tool patchelf --add-needed libredirect-php.so "$out/usr/bin/php8.4"
wrap usr/bin/php "$out/usr/bin/php8.4" "export PHP_INI_SCAN_DIR=\"\${PHP_INI_SCAN_DIR:-$out/etc/php/conf.d}\""
"$out/usr/bin/php" -r 'new DateTimeZone("Europe/Paris") and ctype_alpha(mb_strtoupper("a"));'
