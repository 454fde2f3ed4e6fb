# Heap, class data and code have to fit into the default limit of 256 MiB together.
exec java -Xmx144m -Xss16m -XX:+UseSerialGC -XX:-UsePerfData Main "$@"
