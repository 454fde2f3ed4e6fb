# Write $out/setup: setup.sh with the store paths that it begins with.
mkdir "$out"
{
  echo "initialPath='$initialPath'"
  echo "shell='$shell'"
  echo "libraries='$libraries'"
  echo "triplet='$triplet'"
  cat "$setup"
} > "$out/setup"
