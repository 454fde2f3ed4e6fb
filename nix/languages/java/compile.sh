# The serial collector starts few threads: `processes` counts them too.
exec javac -J-Xmx320m -J-XX:+UseSerialGC -J-XX:TieredStopAtLevel=1 Main.java
